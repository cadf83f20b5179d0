import { setImmediate } from 'node:timers/promises';
import { pairedRatio, spreadOf } from './statistics.js';
import type { RivalResult, Unit } from './types.js';

/** What a rival found, and whether that is right. */
export interface Verdict {
  /** The first thing that is wrong: expected, found, where. */
  fault?: string;
  /** Of its results; none where it has none to be compared, as a floor. */
  hash?: string;
  extras?: NonNullable<RivalResult['extras']>;
}

/** Who takes part in a case. */
export interface Contender {
  name: string;
  kind: RivalResult['kind'];
  isApproximate?: boolean;
  /** Why it does not run here. */
  skipped?: string;
  /** Runs once and checks what came out, before anything is timed. What it throws is a fault. */
  verify(): Verdict | Promise<Verdict>;
  /** What is timed. @param turn goes up from 0; below 0 it is warming up */
  run(turn: number): unknown;
}

export interface ContestOptions {
  unit: Extract<Unit, 'us' | 'ms' | 's'>;
  warmUp: number;
  /** A function is asked once all have been checked: it may know by then what one of them takes. */
  turns: number | (() => number);
  /** Whose time the others' is compared with, where they run. */
  yardsticks: readonly string[];
  signal: AbortSignal;
  say?: (what: string) => void;
}

const NANOSECONDS = { us: 1e3, ms: 1e6, s: 1e9 };

/**
 * Checks all, then times those that passed: every turn each of them runs once, and who begins moves on, since who goes
 * first finds other things in the caches than who follows.
 */
export async function runContest(
  contenders: readonly Contender[],
  options: ContestOptions,
): Promise<RivalResult[]> {
  const { unit, warmUp, signal, say = () => {} } = options;
  const results: RivalResult[] = [];
  const running: { contender: Contender; result: RivalResult; times: number[] }[] = [];
  for (const contender of contenders) {
    signal.throwIfAborted();
    say(`checking ${contender.name}`);
    const result = await checked(contender);
    results.push(result);
    if (result.status === 'timed') running.push({ contender, result, times: [] });
  }
  say(`timing ${running.length} rivals`);
  const turns = typeof options.turns === 'number' ? options.turns : options.turns();
  for (let turn = -warmUp; turn < turns; turn++) {
    for (let place = 0; place < running.length; place++) {
      const { contender, times } = running[(place + turn + warmUp) % running.length];
      await setImmediate();
      signal.throwIfAborted();
      const start = process.hrtime.bigint();
      const pending = contender.run(turn);
      if (pending instanceof Promise) await pending;
      const taken = Number(process.hrtime.bigint() - start) / NANOSECONDS[unit];
      if (turn >= 0) times.push(taken);
    }
  }
  for (const { result, times } of running) Object.assign(result, { unit, spread: spreadOf(times) });
  for (const { result, times } of running) {
    for (const name of options.yardsticks) {
      const other = running.find((one) => one.result.name === name && one.result !== result);
      if (other === undefined) continue;
      const reason = whyNotCompared(result, other.result);
      if (reason !== undefined) result.reason = reason;
      else result.ratioTo = { ...result.ratioTo, [name]: pairedRatio(times, other.times) };
    }
  }
  return results;
}

/**
 * Why one's time says nothing about the other's: both claim to find the same, and do not. Floors have nothing to
 * compare, and approximate rivals are meant to find something else.
 */
export function whyNotCompared(one: RivalResult, other: RivalResult): string | undefined {
  if (one.resultHash === undefined || other.resultHash === undefined) return undefined;
  if (one.isApproximate || other.isApproximate || one.resultHash === other.resultHash) return undefined;
  return (
    `not compared with ${other.name}: its results hash to ${one.resultHash}, ` +
    `those of ${other.name} to ${other.resultHash}`
  );
}

async function checked({ name, kind, isApproximate, skipped, verify }: Contender): Promise<RivalResult> {
  const result: RivalResult = { name, kind, status: 'timed', ...(isApproximate && { isApproximate }) };
  if (skipped !== undefined) return { ...result, status: 'skipped', reason: skipped };
  try {
    const { fault, hash, extras } = await verify();
    if (hash !== undefined) result.resultHash = hash;
    if (extras !== undefined) result.extras = extras;
    return fault === undefined ? result : { ...result, status: 'failed', reason: fault };
  } catch (thrown) {
    return { ...result, status: 'failed', reason: `its check ended with: ${messageOf(thrown)}` };
  }
}

export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}
