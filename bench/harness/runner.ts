import { setImmediate } from 'node:timers/promises';
import { messageOf, whyNotCompared } from './contest.js';
import { describeMachine } from './machine.js';
import { availableBytes, collectGarbage, shownBytes } from './memory.js';
import { calibrate, judgeNoise } from './noise.js';
import type { ProgressBar } from './progress.js';
import { writeReport } from './results.js';
import type { CaseResult, PlannedCase, RunOptions, Size, Suite, SuiteReport } from './types.js';

export interface RunnerOptions extends RunOptions {
  /** Folder of the results. */
  out: string;
  progress: ProgressBar;
  /** Aborted when the run is interrupted. */
  signal: AbortSignal;
  /** What a case may take; the machine's by default. */
  availableBytes?: () => number;
}

/** How often the calibrating work is done before a suite, and again after it. */
const calibrations: Record<Size, number> = { small: 20, quick: 100, full: 300 };

/** Cases that need less don't look for memory to be given back first. */
const MUCH_BYTES = 200e6;

/**
 * Runs one suite's cases, one after another. Its report is written after each of them, so that what finished is kept
 * whatever happens next; it takes the place of the last complete one when it is complete itself. A case that throws
 * has failed, and the others go on.
 * @param cases of the suite's plan
 */
export async function runSuite(
  suite: Suite,
  cases: readonly PlannedCase[],
  options: RunnerOptions,
): Promise<{ report: SuiteReport; path: string }> {
  const { size, seed, large, axes, out, progress, signal } = options;
  const start = performance.now();
  const startedAt = new Date().toISOString();
  progress.say(`${suite.name}: calibrating`);
  const beforeUs = await calibrate(calibrations[size]);
  const report: SuiteReport = {
    format: 1,
    suite: suite.name,
    ...describeMachine(),
    startedAt,
    seconds: 0,
    size,
    seed,
    isComplete: false,
    noise: { ...judgeNoise(beforeUs, beforeUs), why: 'The run has not ended: measured before it only.' },
    cases: [],
    skipped: [],
  };
  const save = () => {
    report.seconds = (performance.now() - start) / 1000;
    return writeReport(out, report);
  };
  save();
  try {
    for (const planned of cases) {
      const { axis, at, needsBytes, seconds } = planned;
      const name = `${suite.name} ${axis}=${at}`;
      // Signals are seen between turns of the event loop only.
      await setImmediate();
      if (signal.aborted) break;
      const lack = await lackOfMemory(needsBytes, options.availableBytes ?? availableBytes);
      if (lack !== undefined) {
        report.skipped.push({ axis, at, reason: lack });
        progress.finish(`${name}: skipped, ${lack}`, seconds);
        save();
        continue;
      }
      const say = (what: string) => progress.say(`${name}: ${what}`);
      const result = await runCase(suite, planned, {
        options: { size, seed, large, axes },
        signal,
        say,
      });
      if (result === undefined) break;
      report.cases.push(result);
      save();
      progress.finish(`${name}: ${summaryOf(result)}`, seconds);
    }
  } finally {
    await suite.close?.();
  }
  report.noise = judgeNoise(beforeUs, await calibrate(calibrations[size]));
  report.isComplete =
    report.cases.length + report.skipped.length === cases.length &&
    !report.cases.some(({ isPartial }) => isPartial);
  return { report, path: save() };
}

/** Undefined where it was interrupted. */
async function runCase(
  suite: Suite,
  planned: PlannedCase,
  context: Parameters<PlannedCase['run']>[0],
): Promise<CaseResult | undefined> {
  const { axis, at } = planned;
  try {
    const result = await planned.run(context);
    const fault = faultOf(result);
    if (fault !== undefined) throw new Error(fault);
    return result;
  } catch (thrown) {
    if (context.signal.aborted) return undefined;
    return { suite: suite.name, axis, at, parameters: {}, rivals: [], failed: messageOf(thrown) };
  }
}

/** What no suite may report: a rival that was timed without a time, or compared with one that found something else. */
function faultOf({ rivals }: CaseResult): string | undefined {
  for (const rival of rivals) {
    const { name, status, spread, unit, reason, ratioTo = {} } = rival;
    if (rivals.some((other) => other !== rival && other.name === name)) return `${name} is there twice`;
    if ((status === 'timed') !== (spread !== undefined && unit !== undefined)) {
      return `${name} is ${status} and has ${spread === undefined ? 'no times' : 'times'}`;
    }
    if (status !== 'timed' && !reason) return `${name} is ${status} without a reason`;
    for (const otherName of Object.keys(ratioTo)) {
      const other = rivals.find((one) => one.name === otherName);
      if (other?.status !== 'timed') return `${name} is compared with ${otherName}, which was not timed`;
      const why = whyNotCompared(rival, other);
      if (why !== undefined) return `${name} must be ${why}`;
    }
  }
  return undefined;
}

async function lackOfMemory(needsBytes: number, available: () => number): Promise<string | undefined> {
  if (needsBytes > MUCH_BYTES || needsBytes > available()) await collectGarbage();
  const have = available();
  if (needsBytes <= have) return undefined;
  return `it needs ${shownBytes(needsBytes)} of memory, and there are ${shownBytes(have)}`;
}

function summaryOf({ rivals, failed, verdict }: CaseResult): string {
  if (failed !== undefined) return `FAILED: ${failed}`;
  const count = (status: string) => rivals.filter((rival) => rival.status === status).length;
  const parts = [`${count('timed')} timed`];
  if (count('skipped') > 0) parts.push(`${count('skipped')} skipped`);
  for (const { name, reason } of rivals.filter(({ status }) => status === 'failed')) {
    parts.push(`${name} FAILED its check: ${reason}`);
  }
  const counted = parts.join(', ');
  return verdict === undefined ? counted : `${counted}. ${verdict}`;
}

/** What went wrong in a suite's run, for its last lines and its exit status. */
export function failuresOf({ suite, cases }: SuiteReport): string[] {
  return cases.flatMap(({ axis, at, failed, rivals }) => [
    ...(failed === undefined ? [] : [`${suite} ${axis}=${at}: ${failed}`]),
    ...rivals
      .filter(({ status }) => status === 'failed')
      .map(({ name, reason }) => `${suite} ${axis}=${at}: ${name} failed its check: ${reason}`),
  ]);
}
