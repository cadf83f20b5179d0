import { Random } from '../../../test/helpers/random.js';
import type { Transport, TransportName } from '../../load/transport.js';
import { ErrorCounts } from './error-counts.js';
import type { Shop } from './shop.js';

const TIMEOUT_MS = 10_000;
/** Of wrong answers, how many are told; all are counted. */
const MOST_TOLD = 20;
/** Values of one kind that are kept: beyond that, one of them makes room. */
const MOST_LATENCIES = 100_000;

/** What the clients of one protocol got. */
export class Answers {
  answers = 0;
  /** Answers that were not all that they must be: with fewer items than asked for. */
  short = 0;
  violations = 0;
  /** The first of them. */
  readonly told: string[] = [];
  /** By code, or `failure: …`. */
  readonly errors = new ErrorCounts();
  /** Milliseconds; of a long run a sample. */
  readonly latenciesMs: number[] = [];
  /** Since they were last taken. */
  #recentMs: number[] = [];
  readonly #random: Random;

  constructor(seed: number) {
    this.#random = new Random(seed);
  }

  answered(latencyMs: number, isComplete: boolean, fault: string | undefined): void {
    this.answers++;
    if (!isComplete) this.short++;
    this.#recentMs.push(latencyMs);
    if (this.latenciesMs.length < MOST_LATENCIES) this.latenciesMs.push(latencyMs);
    else {
      const place = this.#random.below(this.answers);
      if (place < MOST_LATENCIES) this.latenciesMs[place] = latencyMs;
    }
    if (fault === undefined) return;
    this.violations++;
    if (this.told.length < MOST_TOLD) this.told.push(fault);
  }

  takeRecent(): number[] {
    const recent = this.#recentMs;
    this.#recentMs = [];
    return recent;
  }
}

/** Clients that ask one request after the other, and look at every answer. */
export async function ask(
  { name, transport, clients }: { name: TransportName; transport: Transport; clients: number },
  shop: Shop,
  answers: Answers,
  seed: number,
  /** Nothing that comes after this counts. */
  isOver: () => boolean,
): Promise<void> {
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      const random = new Random(seed + 1000 * client + name.length);
      while (!isOver()) {
        const request = shop.request(random, TIMEOUT_MS);
        const sentMs = Date.now();
        const startMs = performance.now();
        const reply = await transport.send(request);
        const latencyMs = performance.now() - startMs;
        if (isOver()) return;
        if (reply.outcome === 'answer') {
          const fault = shop.fault(request, reply, sentMs, Date.now());
          answers.answered(latencyMs, reply.isComplete, fault);
          continue;
        }
        const code = reply.outcome === 'error' ? reply.code : `failure: ${reply.message}`;
        answers.errors.add(code, Date.now());
        // A server that refuses at once is not asked a thousand times a second.
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }),
  );
}
