import { seededRandom } from '../../src/cli/bench/random.js';
import {
  type Constraint,
  chooseKernel,
  type SetAlgebra,
  setBit,
  usableLevels,
  wordsFor,
} from '../../src/kernels/index.js';
import { loadAddon } from '../../src/kernels/native/addon.js';
import type { StaticCsr } from '../../src/static-trie/exchange/static-csr.js';
import { sidRowsOfStatic } from '../../src/static-trie/exchange/static-import.js';
import {
  buildTrie,
  type ConstraintSet,
  combineSets,
  constraintSetFromItems,
  exportStatic,
  prepareExclusions,
  type SidRows,
  setByteLength,
  trieByteLength,
} from '../../src/static-trie/index.js';
import type { CaseContext, CaseResult, PlannedCase, RunOptions, Size, Suite } from '../harness/types.js';
import { type Task, timeTasks } from './sets/tasks.js';
import type { SidShape } from './sids.js';
import { type Catalog, Catalogs, rowsOf } from './step/catalogs.js';

const catalogs = new Catalogs();
const LEVELS = 8;
const rowCounts: Record<Size, number> = { small: 5000, quick: 200_000, full: 20_000_000 };
/** Skewed SIDs share leaves, which is where sets are more than their leaves' bits. */
const usualShape = 'skewed';
const codebookSizes: Record<Size, number> = { small: 64, quick: 2048, full: 2048 };

const values = {
  selectivity: { small: [1, 0.1], quick: [0.1, 0.001], full: [1, 0.5, 0.1, 0.01, 0.001, 0.0001] },
  algebra: ['and', 'or', 'andNot'],
  exclusions: { small: [1, 50], quick: [500], full: [1, 10, 100, 500, 1000, 10_000] },
  shape: { small: ['uniform'], quick: ['uniform'], full: ['uniform', 'real-shaped'] },
  call: ['three arrays'],
} as const;

/** Constraint sets beside what there would be without them: making, combining, excluding, and what they take. */
export const sets: Suite = {
  name: 'sets',
  about: 'Constraint sets over one catalog beside a trie for each: making, combining, excluding, bytes.',
  axes: Object.keys(values),
  plan,
  close: async () => catalogs.clear(),
};

interface Scene {
  catalog: Catalog;
  random: () => number;
  kernels: { name: string; sets: SetAlgebra }[];
}

function plan({ size, axes, seed }: RunOptions): PlannedCase[] {
  const needsBytes = rowCounts[size] * (LEVELS * 5 + 24);
  const planned: PlannedCase[] = [];
  const add = (
    axis: keyof typeof values,
    at: number | string,
    run: (scene: Scene, context: CaseContext) => Promise<CaseResult>,
    shape: SidShape = usualShape,
  ) => {
    if (axes.length > 0 && !axes.includes(axis)) return;
    const seconds = { small: 0.2, quick: 1.5, full: 8 }[size];
    planned.push({
      axis,
      at,
      needsBytes,
      seconds,
      run: async (context) => run(await openScene(shape, size, seed, context), context),
    });
  };
  for (const at of values.selectivity[size])
    add('selectivity', at, (scene, context) => runSelectivity('selectivity', at, at, scene, context));
  for (const at of values.algebra) add('algebra', at, (scene, context) => runAlgebra(at, scene, context));
  for (const at of values.exclusions[size])
    add('exclusions', at, (scene, context) => runExclusions(at, scene, context));
  for (const at of values.call) add('call', at, (scene, context) => runCall(at, scene, context));
  for (const at of values.shape[size]) {
    add('shape', at, (scene, context) => runSelectivity('shape', at, 0.1, scene, context), at);
  }
  return planned;
}

async function openScene(shape: SidShape, size: Size, seed: number, { say }: CaseContext): Promise<Scene> {
  say('building the catalog');
  const catalog = await catalogs.get({
    shape,
    rowCount: rowCounts[size],
    codebookSize: codebookSizes[size],
    levels: LEVELS,
    seed,
  });
  const native = usableLevels().map(({ name }) => ({
    name: `native-${name}`,
    sets: chooseKernel(name).sets,
  }));
  return {
    catalog,
    random: seededRandom(seed),
    kernels: [...native.reverse(), { name: 'js', sets: chooseKernel('js').sets }],
  };
}

/** A set from one bit an item, beside a trie built of those items alone, and the arrays of plain CSR made of that. */
async function runSelectivity(
  axis: 'selectivity' | 'shape',
  at: number | string,
  selectivity: number,
  scene: Scene,
  context: CaseContext,
): Promise<CaseResult> {
  const { catalog, random, kernels } = scene;
  const { trie, leafItems } = catalog;
  const itemBits = randomItems(leafItems.itemCount, selectivity, random);
  const made: Task[] = kernels.map(({ name, sets }) => ({
    name: `${name}-overlay`,
    kind: 'ours',
    run: () => constraintSetFromItems(trie, leafItems, itemBits, sets),
    resultOf: (set) => [(set as ConstraintSet).live.leafBits, (set as ConstraintSet).live.nodeBits],
    bytesOf: (set) => setByteLength(set as ConstraintSet),
  }));
  // Their SIDs are given to those who build anew; finding them is not timed.
  const rows = rowsOf(trie, constraintSetFromItems(trie, leafItems, itemBits).live.leafBits);
  const dedicated: Task[] = [
    {
      name: 'dedicated-trie',
      kind: 'ours',
      run: async () => (await buildTrie(rows, { threads: 1 })).trie,
      faultOf: (built) => faultOfRows((built as Constraint['trie']).rows, codesOf(rows)),
      resultOf: (built) => [(built as Constraint['trie']).rows],
      bytesOf: (built) => trieByteLength(built as Constraint['trie']),
    },
    {
      name: 'static-csr',
      kind: 'rival',
      run: async () => {
        const { trie: built } = await buildTrie(rows, { threads: 1 });
        return exportStatic(built, { vocabSize: trie.codebookSizes[0], denseLookupLayers: 2 });
      },
      faultOf: (arrays) =>
        faultOfRows(codesOf(sidRowsOfStatic(arrays as StaticCsr, rows.codebookSizes)), codesOf(rows)),
      resultOf: (arrays) => [(arrays as StaticCsr).packedCsr],
      bytesOf: (arrays) => {
        const { packedCsr, indptr, startMask, denseMask, denseStates } = arrays as StaticCsr;
        return [packedCsr, indptr, startMask, denseMask, denseStates].reduce(
          (sum, one) => sum + one.byteLength,
          0,
        );
      },
    },
  ];
  const rivals = [
    ...(await timeTasks(made, made[0].name, context)),
    // Another kind of result, slower by orders of magnitude: what it is compared with is the set's time above.
    ...(await timeTasks([made[0], ...dedicated], made[0].name, context, false)).slice(1),
  ];
  return resultOf(scene, axis, at, { selectivity }, rivals);
}

/** None of those here is of 64 bits. */
function codesOf({ codes }: SidRows): ArrayLike<number> {
  return codes as ArrayLike<number>;
}

/** @param expected the SIDs of the set, sorted and distinct */
function faultOfRows(found: ArrayLike<number>, expected: ArrayLike<number>): string | undefined {
  if (found.length !== expected.length) return `${found.length} codes, where the set has ${expected.length}`;
  for (let at = 0; at < expected.length; at++) {
    if (found[at] !== expected[at]) return `code ${at} is ${found[at]}, where the set has ${expected[at]}`;
  }
  return undefined;
}

/** Two sets of half the items made one, with what a request can decode under derived anew. */
async function runAlgebra(
  operation: 'and' | 'or' | 'andNot',
  scene: Scene,
  context: CaseContext,
): Promise<CaseResult> {
  const { catalog, random, kernels } = scene;
  const { trie, leafItems } = catalog;
  const [a, b] = [0, 1].map(() =>
    constraintSetFromItems(trie, leafItems, randomItems(leafItems.itemCount, 0.5, random)),
  );
  const tasks = kernels.flatMap(({ name, sets }): Task[] => [
    {
      name,
      kind: 'ours',
      run: () => combineSets(operation, trie, leafItems, a, b, sets),
      resultOf: (set) => [(set as ConstraintSet).live.leafBits, (set as ConstraintSet).live.nodeBits],
      bytesOf: (set) => setByteLength(set as ConstraintSet),
    },
  ]);
  const derived = kernels.map(
    ({ name, sets }): Task => ({
      name: `${name}-derive`,
      kind: 'ours',
      run: () => sets.deriveLiveLeaves(trie, a.live.leafBits),
      resultOf: (live) => [
        (live as ConstraintSet['live']).rootMask,
        (live as ConstraintSet['live']).nodeBits,
      ],
    }),
  );
  const rivals = [
    ...(await timeTasks(tasks, tasks[0].name, context)),
    ...(operation === 'and' ? await timeTasks(derived, derived[0].name, context) : []),
  ];
  return resultOf(scene, 'algebra', operation, { operation }, rivals);
}

/** What one request's excluded items cost before its first step. */
async function runExclusions(count: number, scene: Scene, context: CaseContext): Promise<CaseResult> {
  const { catalog, random, kernels } = scene;
  const { trie, leafItems } = catalog;
  const set = constraintSetFromItems(trie, leafItems, randomItems(leafItems.itemCount, 0.5, random));
  const excluded = Array.from({ length: count }, () => Math.floor(random() * leafItems.itemCount));
  const tasks = kernels.map(
    ({ name, sets }): Task => ({
      name,
      kind: 'ours',
      run: () => prepareExclusions(leafItems, set, excluded, sets),
      resultOf: (made) => [(made as ReturnType<typeof prepareExclusions>).dead.leaves],
    }),
  );
  return resultOf(
    scene,
    'exclusions',
    count,
    { exclusions: count },
    await timeTasks(tasks, tasks[0].name, context),
  );
}

/** What it costs to get into native code and back, with three typed arrays of two words each. */
async function runCall(at: string, scene: Scene, context: CaseContext): Promise<CaseResult> {
  const [a, b, out] = [Uint32Array.of(0b1100, 7), Uint32Array.of(0b1010, 5), new Uint32Array(2)];
  const repeat = (call: () => void) => () => {
    for (let turn = 0; turn < CALLS; turn++) call();
    return out;
  };
  const { addon } = loadAddon();
  const { sets } = chooseKernel('js');
  const tasks: Task[] = [
    {
      name: 'js-call',
      kind: 'floor',
      run: repeat(() => out.set(sets.combine('and', a, b))),
      resultOf: (made) => [made as Uint32Array],
    },
  ];
  if (addon !== null) {
    const run = repeat(() => addon.combineBits(SCALAR, AND, a, b, out));
    tasks.unshift({ name: 'native-call', kind: 'ours', run, resultOf: (made) => [made as Uint32Array] });
  }
  const rivals = await timeTasks(tasks, tasks[0].name, context);
  return resultOf(scene, 'call', at, { calls: CALLS }, rivals);
}

/** Of one turn: a single one is over before a clock has moved. */
const CALLS = 1000;
/** Of the addon. */
const [SCALAR, AND] = [0, 0];

function randomItems(itemCount: number, fraction: number, random: () => number): Uint32Array {
  const bits = new Uint32Array(wordsFor(itemCount));
  for (let item = 0; item < itemCount; item++) if (random() < fraction) setBit(bits, item);
  return bits;
}

function resultOf(
  { catalog }: Scene,
  axis: string,
  at: number | string,
  more: Record<string, number | string>,
  rivals: CaseResult['rivals'],
): CaseResult {
  const { shape, rowCount, codebookSize, levels, seed = 0 } = catalog.options;
  const parameters = {
    shape,
    items: rowCount,
    leaves: catalog.trie.leafCount,
    vocabulary: codebookSize,
    sidLength: levels,
    seed,
    ...more,
  };
  return { suite: 'sets', axis, at, parameters, rivals };
}
