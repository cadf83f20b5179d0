import { setImmediate } from 'node:timers/promises';
import { spreadOf } from './statistics.js';
import type { Noise, Spread } from './types.js';

/** One sample in 20 may take so much longer than the median: beyond that, others took the cores away. */
export const MAX_SPREAD = 1.25;
/** The median may change by so much from before a run to after it: beyond that, clocks or neighbours changed. */
export const MAX_CHANGE = 1.1;

const INTEGER_STEPS = 200_000;
/** More than the caches next to a core hold. */
const WORDS = 1 << 21;
const READS = 20_000;

let words: Int32Array | undefined;

/**
 * A fixed piece of work again and again, in microseconds: integers in registers, then reads all over 8 MB.
 * @throws Error where the work came to another result: what was timed was not the same
 */
export async function calibrate(samples: number): Promise<Spread> {
  words ??= new Int32Array(WORDS).map((_, index) => Math.imul(index, 0x9e3779b1));
  // The first runs are the compiler's.
  const expected = work(words);
  work(words);
  const times: number[] = [];
  for (let sample = 0; sample < samples; sample++) {
    const start = process.hrtime.bigint();
    const found = work(words);
    times.push(Number(process.hrtime.bigint() - start) / 1000);
    if (found !== expected) throw new Error(`calibration came to ${found}, expected ${expected}`);
    if (sample % 16 === 15) await setImmediate();
  }
  return spreadOf(times);
}

/** What two calibrations say about the run between them. */
export function judgeNoise(beforeUs: Spread, afterUs: Spread): Noise {
  const faults: string[] = [];
  for (const [when, { p50, p95 }] of [
    ['before', beforeUs],
    ['after', afterUs],
  ] as const) {
    if (p95 <= p50 * MAX_SPREAD) continue;
    faults.push(
      `${when} the run one sample in 20 took ${times(p95 / p50)} the median or longer (limit ${times(MAX_SPREAD)})`,
    );
  }
  const change = afterUs.p50 / beforeUs.p50;
  if (change > MAX_CHANGE || change < 1 / MAX_CHANGE) {
    faults.push(
      `after the run the median was ${times(change)} that before it (limits ${times(1 / MAX_CHANGE)} and ${times(MAX_CHANGE)})`,
    );
  }
  const isNoisy = faults.length > 0;
  const medians = `a fixed piece of work took ${beforeUs.p50.toFixed(0)} µs before the run and ${afterUs.p50.toFixed(0)} µs after it`;
  const why = isNoisy
    ? `The machine was busy: ${faults.join('; ')}; ${medians}.`
    : `The machine was quiet: ${medians}.`;
  return { beforeUs, afterUs, isNoisy, why };
}

function times(factor: number): string {
  return `${factor.toFixed(2)}x`;
}

function work(memory: Int32Array): number {
  let state = 1;
  for (let step = 0; step < INTEGER_STEPS; step++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
  }
  let at = state & (WORDS - 1);
  for (let read = 0; read < READS; read++) at = (memory[at] ^ read) & (WORDS - 1);
  return at;
}
