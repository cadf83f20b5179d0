import { setImmediate } from 'node:timers/promises';
import type { Rival } from '../../baselines/rival.js';
import type { Places, RecordedDecodes } from './recorded-decodes.js';

/** A rival that passed its check, and where it has recorded beams. */
export interface Runner {
  rival: Rival;
  decodes: RecordedDecodes;
  places: readonly Places[][];
}

/** Microseconds of a step: by turn the mean over the levels of one decode; NaN where the rival sat a turn out. */
export interface Timed {
  turns: Float64Array;
  /** [levels] of the turns that it took. */
  levels: number[][];
}

export interface TurnOptions {
  /** For all rivals together, in milliseconds. */
  budgetMs: number;
  /** At least and at most so many turns of each. */
  least: number;
  most: number;
  signal: AbortSignal;
}

/** Turns that a rival takes one after another. */
export const BLOCK = 2;

/**
 * Rivals take turns in blocks: first a decode that is not timed, so that each finds its own structures in the caches
 * and not what another left there, then `BLOCK` decodes that are. Who begins a round changes. A slow rival sits
 * rounds out, so that it takes no more time than the others.
 * @param decodeMs what one decode of each takes
 */
export async function takeTurns(
  runners: readonly Runner[],
  decodeMs: readonly number[],
  { budgetMs, least, most, signal }: TurnOptions,
): Promise<Timed[]> {
  const share = budgetMs / runners.length;
  const wanted = decodeMs.map((ms) =>
    Math.min(most, Math.max(least, Math.floor((share / ms / (BLOCK + 1)) * BLOCK))),
  );
  const rounds = Math.ceil(Math.max(...wanted) / BLOCK);
  // Powers of two, so that any two rivals have turns in common.
  const every = wanted.map((turns) => 2 ** Math.floor(Math.log2((rounds * BLOCK) / Math.max(turns, BLOCK))));
  const timed = runners.map(
    ({ decodes }): Timed => ({
      turns: new Float64Array(rounds * BLOCK).fill(Number.NaN),
      levels: Array.from({ length: decodes.levels }, () => []),
    }),
  );
  for (let round = 0; round < rounds; round++) {
    for (let place = 0; place < runners.length; place++) {
      const index = (place + round) % runners.length;
      if (round % every[index] !== 0) continue;
      await setImmediate();
      signal.throwIfAborted();
      runDecode(runners[index], round * BLOCK - 1);
      for (let turn = round * BLOCK; turn < (round + 1) * BLOCK; turn++) {
        const times = runDecode(runners[index], turn);
        times.forEach((time, depth) => {
          timed[index].levels[depth].push(time);
        });
        timed[index].turns[turn] = times.reduce((sum, time) => sum + time, 0) / times.length;
      }
    }
  }
  return timed;
}

/** One recorded decode, step by step. @returns microseconds of each step; putting its beams in place takes no part */
export function runDecode({ rival, decodes, places }: Runner, turn: number): number[] {
  const path = (turn + decodes.count) % decodes.count;
  return Array.from({ length: decodes.levels }, (_, depth) => {
    decodes.load(rival, places, path, depth);
    const input = decodes.input(depth, (turn + 1) * decodes.levels + depth);
    const start = process.hrtime.bigint();
    rival.step(input);
    return Number(process.hrtime.bigint() - start) / 1000;
  });
}
