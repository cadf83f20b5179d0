import type { CaseContext, CaseResult, PlannedCase, RunOptions, Size } from '../../harness/types.js';
import { runExclusions, runMixedSets, runNeighbours, runSelectivity, runStandard } from './cases.js';
import type { CatalogOptions, Catalogs } from './catalogs.js';
import {
  branchingConstraints,
  hasTwoCores,
  mixedBatch,
  type NumberAxis,
  type Point,
  points,
  shapesOf,
  valuesOf,
} from './sizes.js';

/** One case, before it has its catalog. */
export interface StepCase {
  axis: string;
  at: number | string;
  point: Point;
  catalogs: Catalogs;
  seed: number;
  withTwoThreads: boolean;
  /** Rivals whose structures are larger are not built for this case. */
  mostBytes: number;
  /** Cases of this run over whole catalogs, by what they measured. */
  measured: Map<string, CaseResult>;
}

type Run = (one: StepCase, context: CaseContext) => Promise<CaseResult>;

/** Cases of one catalog follow each other, so that it is built once. */
export function planCases(catalogs: Catalogs, options: RunOptions): PlannedCase[] {
  const { size, seed, axes } = options;
  const base = points[size];
  const planned: PlannedCase[] = [];
  const baseKey = keyOf(base, seed);
  const measured = new Map<string, CaseResult>();
  let catalog = '';
  const add = (axis: string, at: number | string, point: Point, run: Run) => {
    if (axes.length > 0 && !axes.includes(axis)) return;
    const key = keyOf(point, seed);
    const isShort = size === 'quick' && key !== baseKey;
    const one: StepCase = {
      axis,
      at,
      point,
      catalogs,
      seed,
      withTwoThreads: hasTwoCores && (axis === 'point' || axis === 'batch' || at === TWO_THREADS_AT),
      mostBytes: isShort ? MOST_BYTES_QUICKLY : Number.POSITIVE_INFINITY,
      measured,
    };
    planned.push({
      axis,
      at,
      needsBytes: needsBytes(one),
      seconds: caseSeconds[size] + (key === catalog ? 0 : point.constraints * buildSeconds),
      run: (context) => run(one, context),
    });
    catalog = key;
  };
  const vary = (axis: NumberAxis, change: (value: number) => Partial<Point>, run: Run = runStandard) => {
    for (const value of valuesOf(axis, options)) add(axis, value, { ...base, ...change(value) }, run);
  };

  add('point', nameOf(base.constraints), base, runStandard);
  if (size === 'full') add('point', 'B=32 M=50', { ...base, batch: 32, beams: 50 }, runStandard);
  vary('beams', (beams) => ({ beams }));
  vary('batch', (batch) => ({ batch }));
  vary('neighbours', () => ({}), runNeighbours);
  vary('exclusions', () => ({}), runExclusions);
  vary('sets', () => ({ batch: mixedBatch[size] }), runMixedSets);
  vary('selectivity', () => ({}), runSelectivity);
  vary('constraints', (constraints) => ({ constraints }));
  // The nested maps' point, after the catalog that it shares.
  if (size === 'full') add('point', '1M', { ...base, constraints: 1_000_000 }, runStandard);
  const constraints = branchingConstraints[size];
  vary('branching', (vocabulary) => ({
    constraints,
    vocabulary,
    sidLength: lengthFor(constraints, vocabulary),
  }));
  vary('vocabulary', (vocabulary) => ({ vocabulary }));
  vary('sid-length', (sidLength) => ({ sidLength }));
  for (const shape of shapesOf(options)) add('shape', shape, { ...base, shape }, runStandard);
  return planned;
}

/** Levels enough for so many different SIDs: the usual eight, or more where the codes are few. */
function lengthFor(constraints: number, vocabulary: number): number {
  const least = Math.log(2 * constraints) / Math.log(vocabulary);
  return Math.max(points.full.sidLength, Math.ceil(least));
}

/** Of the vocabularies, the one whose step on two threads others give as well. */
const TWO_THREADS_AT = 8192;

/** On two cores, checking and timing of all rivals. */
const caseSeconds: Record<Size, number> = { small: 0.2, quick: 3, full: 12 };
/** For each SID: drawing and sorting it, and all rivals' structures. */
const buildSeconds = 8e-7;

/** Of a structure that is built for one case alone. */
const MOST_BYTES_QUICKLY = 3e8;

function keyOf(point: Point, seed: number): string {
  return JSON.stringify(catalogOf({ point, seed }));
}

export function catalogOf({ point, seed }: Pick<StepCase, 'point' | 'seed'>): CatalogOptions {
  const { shape, constraints, vocabulary, sidLength } = point;
  return { shape, rowCount: constraints, codebookSize: vocabulary, levels: sidLength, seed };
}

/** The input, the sorted rows and what a build needs; rivals are left out where they don't fit. */
function needsBytes({ point }: StepCase): number {
  const { constraints, vocabulary, sidLength, batch, beams } = point;
  const codeBytes = vocabulary > 65_536 ? 4 : 2;
  const logits = batch * beams * vocabulary * 4;
  return constraints * (sidLength * (2 * codeBytes + 1) + 24) + logits * (logits > 40e6 ? 3 : 12);
}

function nameOf(count: number): string {
  return count >= 1e6 ? `${count / 1e6}M` : String(count);
}
