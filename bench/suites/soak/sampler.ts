import { readFileSync } from 'node:fs';
import { quantile } from '../../harness/statistics.js';
import type { Series, Unit } from '../../harness/types.js';
import type { Answers } from './readers.js';

const SCRAPE_TIMEOUT_MS = 10_000;

/** What the server says of itself. @returns the sum over all labels, or undefined where there is no such metric */
export function metricOf(text: string, name: string, labels = ''): number | undefined {
  let sum: number | undefined;
  for (const line of text.split('\n')) {
    const [, found, foundLabels = '', value] = /^([a-z0-9_]+)(\{.*\})? (\S+)/i.exec(line) ?? [];
    if (found !== name || !foundLabels.includes(labels)) continue;
    sum = (sum ?? 0) + Number(value);
  }
  return sum;
}

/** Looks at a server process, and at what its clients got, again and again. */
export class Sampler {
  readonly series: Series[] = [];
  /** The last that the server said, for what it counts itself. */
  lastScrape = '';
  readonly #url: string;
  readonly #pid: number;
  #startMs = performance.now();
  #lastMs = this.#startMs;
  #seconds = 0;

  constructor(url: string, pid: number) {
    this.#url = `${url}/metrics`;
    this.#pid = pid;
  }

  /** The server says the longest delay since it was asked last: that of its start is not of the run. */
  async begin(): Promise<void> {
    await this.#scrape();
    this.#startMs = performance.now();
    this.#lastMs = this.#startMs;
  }

  /**
   * @param changeErrors how many changes have failed so far
   * @throws Error where the server does not answer
   */
  async sample(groups: readonly Answers[], changeErrors: number): Promise<void> {
    const text = await this.#scrape();
    const nowMs = performance.now();
    this.#seconds = (nowMs - this.#startMs) / 1000;
    const recent = groups.flatMap((group) => group.takeRecent());
    const delay = metricOf(text, 'espalier_event_loop_delay_seconds', 'quantile="1"');
    const sumOf = (of: (group: Answers) => number) => groups.reduce((sum, group) => sum + of(group), 0);
    this.#add('resident memory', 'bytes', metricOf(text, 'process_resident_memory_bytes'));
    this.#add('anonymous memory', 'bytes', anonymousBytes(this.#pid));
    this.#add('open handles', 'count', metricOf(text, 'process_open_fds'));
    this.#add('event-loop delay, longest', 'ms', delay === undefined ? undefined : delay * 1000);
    this.#add('answers', 'per second', (recent.length * 1000) / (nowMs - this.#lastMs));
    this.#add('latency, p99', 'ms', recent.length === 0 ? undefined : quantile(recent, 0.99));
    this.#add('errors so far', 'count', sumOf(({ errors }) => errors.total) + changeErrors);
    this.#add(
      'rule violations so far',
      'count',
      sumOf(({ violations }) => violations),
    );
    this.#lastMs = nowMs;
  }

  async #scrape(): Promise<string> {
    const response = await fetch(this.#url, { signal: AbortSignal.timeout(SCRAPE_TIMEOUT_MS) });
    this.lastScrape = await response.text();
    return this.lastScrape;
  }

  /** What is not known at a moment has no point there. */
  #add(name: string, unit: Unit, value: number | undefined): void {
    if (value === undefined || Number.isNaN(value)) return;
    const seconds = this.#seconds;
    const known = this.series.find((one) => one.name === name);
    if (known === undefined) this.series.push({ name, unit, points: [[seconds, value]] });
    else known.points.push([seconds, value]);
  }
}

/** What the process holds beside mapped files, which the system may take back; undefined where it does not tell. */
function anonymousBytes(pid: number): number | undefined {
  try {
    const kilobytes = /^RssAnon:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}
