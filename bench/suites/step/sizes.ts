import { availableParallelism } from 'node:os';
import type { RunOptions, Size } from '../../harness/types.js';
import { type SidShape, sidShapes } from '../sids.js';

/** The point around which one thing at a time is varied. */
export interface Point {
  shape: SidShape;
  constraints: number;
  vocabulary: number;
  sidLength: number;
  batch: number;
  beams: number;
}

const paper: Point = {
  shape: 'uniform',
  constraints: 20_000_000,
  vocabulary: 2048,
  sidLength: 8,
  batch: 2,
  beams: 70,
};

/** The paper's; with fewer SIDs where a run must be short. */
export const points: Record<Size, Point> = {
  small: { ...paper, constraints: 5000, vocabulary: 64, beams: 20 },
  quick: { ...paper, constraints: 300_000 },
  full: paper,
};

/** Where the axis of branching factors lies: a million SIDs, as in the paper. */
export const branchingConstraints: Record<Size, number> = { small: 5000, quick: 100_000, full: 1_000_000 };

/** What each axis is varied over. */
const values = {
  constraints: { small: [500, 5000], quick: [1e6], full: [1e5, 1e6, 1e7, 2e7] },
  vocabulary: { small: [16, 300], quick: [8192], full: [256, 1024, 2048, 8192, 65_536] },
  branching: { small: [2, 300], quick: [2, 16_384], full: [2, 16, 256, 2048, 32_768, 262_144] },
  beams: { small: [4, 100], quick: [300], full: [10, 70, 256, 1000] },
  batch: { small: [1, 4], quick: [16], full: [1, 2, 8, 32, 64] },
  'sid-length': { small: [2, 12], quick: [16], full: [2, 4, 8, 16] },
  selectivity: { small: [1, 0.1], quick: [0.01, 0.0001], full: [1, 0.1, 0.01, 0.001, 0.0001, 0.00001] },
  sets: { small: [1, 4], quick: [16], full: [1, 2, 8, 32, 64] },
  exclusions: { small: [0, 50], quick: [500], full: [0, 10, 100, 500, 1000, 10_000] },
  neighbours: { small: [1], quick: [], full: [0, 1, 2] },
} satisfies Record<string, Record<Size, number[]>>;

export type NumberAxis = keyof typeof values;

export function valuesOf(axis: NumberAxis, { size, large }: RunOptions): number[] {
  const found: number[] = [...values[axis][size]];
  if (axis === 'constraints' && large && size === 'full') found.push(1e8);
  return found;
}

export function shapesOf({ size }: RunOptions): readonly SidShape[] {
  return size === 'quick' ? ['skewed', 'real-shaped'] : sidShapes;
}

/** How many requests share a batch where sets are mixed. */
export const mixedBatch: Record<Size, number> = { small: 4, quick: 16, full: 64 };
/** Of the items, how many each of the mixed sets has. */
export const mixedSelectivity = 0.1;

export const hasTwoCores = availableParallelism() > 1;
