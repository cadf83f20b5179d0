import { createHash } from 'node:crypto';
import { seededRandom } from '../../src/cli/bench/random.js';
import { isBitSet, setBit, type TrieArrays, wordsFor } from '../../src/kernels/index.js';
import {
  buildTrie,
  type ConstraintSet,
  constraintSetFromItems,
  exportStatic,
  importStatic,
  setByteLength,
  setHasItem,
  trieByteLength,
} from '../../src/static-trie/index.js';
import type {
  CaseContext,
  CaseResult,
  PlannedCase,
  RivalResult,
  RunOptions,
  Size,
  Suite,
} from '../harness/types.js';
import { compareWithFirst, measuredResult } from './memory/measured.js';
import { canMeasureResident, medianOf, sampleResident } from './memory/resident.js';
import { measureStructures } from './memory/structures.js';
import { type SidShape, sidShapes } from './sids.js';
import { Catalogs, rowsOf } from './step/catalogs.js';
import { drawItems, priceRule } from './upload/drawn-items.js';
import { SidsServer } from './upload/sids-server.js';

const LEVELS = 8;
const codebookSizes: Record<Size, number> = { small: 64, quick: 2048, full: 2048 };
const values = {
  items: { small: [5000], quick: [1e5], full: [1e5, 1e6, 5e6] },
  shape: { small: 5000, quick: 2e4, full: 2e5 },
  set: { small: [1, 0.1], quick: [1, 0.1, 0.001], full: [1, 0.1, 0.001] },
  server: {
    small: [[300, 2]],
    quick: [[1e4, 20]],
    full: [
      [1e5, 20],
      [1e6, 200],
    ],
  },
} as const;
const setItems: Record<Size, number> = { small: 5000, quick: 1e5, full: 2e6 };
/** Structures that take more are named and not built: they fill the memory for minutes. */
const mostBytes: Record<Size, number> = { small: 1e9, quick: 2e8, full: 2.5e9 };
/** Bytes an item of those that are built at any size; larger ones look for memory themselves. */
const LARGEST_STRUCTURE = 160;
/** What a server takes with its first catalog, whatever that has, is none of its items'. */
const FIRST_ITEMS = 1000;
const samplesOf: Record<Size, number> = { small: 2, quick: 5, full: 20 };

const catalogs = new Catalogs();

/** Bytes rather than times. */
export const memory: Suite = {
  name: 'memory',
  about:
    'Bytes an item of each structure, bytes of a set, and what a server has resident; pages of mapped files are counted apart.',
  axes: Object.keys(values),
  plan,
  close: async () => catalogs.clear(),
};

function plan({ size, seed }: RunOptions): PlannedCase[] {
  const planned: PlannedCase[] = [];
  for (const count of values.items[size]) planned.push(structureCase('items', count, 'uniform', count));
  for (const shape of sidShapes) planned.push(structureCase('shape', shape, shape, values.shape[size]));
  for (const share of values.set[size]) planned.push(setCase(share));
  for (const [items, sets] of values.server[size]) planned.push(serverCase(items, sets));
  return planned;

  function structureCase(axis: string, at: number | string, shape: SidShape, count: number): PlannedCase {
    return {
      axis,
      at,
      needsBytes: count * (5 * LEVELS + 24 + LARGEST_STRUCTURE),
      seconds: 0.3 + count * 1.5e-6,
      run: (context) => runStructures({ axis, at, shape, count, seed }, context),
    };
  }
  function setCase(share: number): PlannedCase {
    const count = setItems[size];
    return {
      axis: 'set',
      at: share,
      needsBytes: count * 150,
      seconds: 0.2 + count * 2e-6,
      run: (context) => runSet({ axis: 'set', at: share, shape: 'skewed', count, seed }, share, context),
    };
  }
  function serverCase(items: number, sets: number): PlannedCase {
    const at = `${items} items, ${sets} sets`;
    return {
      axis: 'server',
      at,
      needsBytes: 800e6 + items * 1500,
      seconds: 2.5 + items * 1.2e-5 + sets * 0.02,
      run: (context) => runServer({ at, items, sets, seed }, context),
    };
  }
}

interface CatalogCase {
  axis: string;
  at: number | string;
  shape: SidShape;
  count: number;
  seed: number;
}

async function openCatalog({ shape, count, seed }: CatalogCase, { options, say }: CaseContext) {
  say('building the catalog');
  const codebookSize = codebookSizes[options.size];
  return catalogs.get({ shape, rowCount: count, codebookSize, levels: LEVELS, seed });
}

async function runStructures(one: CatalogCase, context: CaseContext): Promise<CaseResult> {
  const { trie } = await openCatalog(one, context);
  const rivals = await measureStructures(trie, one.count, mostBytes[context.options.size], context);
  compareWithFirst(rivals);
  return resultOf(one, trie, {}, rivals);
}

/** What one constraint set takes, and what a structure of the same items alone would. */
async function runSet(one: CatalogCase, share: number, context: CaseContext): Promise<CaseResult> {
  const { trie, leafItems } = await openCatalog(one, context);
  const random = seededRandom(one.seed);
  const itemBits = new Uint32Array(wordsFor(leafItems.itemCount));
  for (let item = 0; item < leafItems.itemCount; item++) if (random() < share) setBit(itemBits, item);
  const set = constraintSetFromItems(trie, leafItems, itemBits);
  let fault: string | undefined;
  for (let item = 0; item < leafItems.itemCount && fault === undefined; item++) {
    const expected = isBitSet(itemBits, item);
    if (setHasItem(leafItems, set, item) !== expected) {
      fault = `item ${item} is ${expected ? 'left out' : 'let in'}`;
    }
  }
  context.say('building a trie of its items alone');
  const rows = rowsOf(trie, set.live.leafBits);
  const { trie: dedicated } = await buildTrie(rows, { threads: 1 });
  const hash = hashOf(rows.codes);
  const ownRows = hashOf(dedicated.rows);
  const csr = exportStatic(dedicated, { vocabSize: trie.codebookSizes[0], denseLookupLayers: 2 });
  const { packedCsr, indptr, startMask, denseMask, denseStates } = csr;
  const { codebookSizes } = dedicated;
  const csrRows = hashOf((await importStatic(csr, { codebookSizes, threads: 1 })).rows);
  const csrBytes = [packedCsr, indptr, startMask, denseMask, denseStates].reduce(
    (sum, { byteLength }) => sum + byteLength,
    0,
  );
  const rivals = [
    measuredResult({
      name: 'overlay',
      kind: 'ours',
      unit: 'bytes',
      values: [setByteLength(set)],
      verdict: { hash, ...(fault !== undefined && { fault }), extras: countsOf(set) },
    }),
    measuredResult({
      name: 'dedicated-trie',
      kind: 'ours',
      unit: 'bytes',
      values: [trieByteLength(dedicated)],
      verdict: {
        hash: ownRows,
        ...(ownRows !== hash && { fault: 'its rows are not those of the set' }),
      },
    }),
    measuredResult({
      name: 'static-csr',
      kind: 'rival',
      unit: 'bytes',
      values: [csrBytes],
      verdict: {
        hash: csrRows,
        ...(csrRows !== hash && { fault: 'what is read back from it is not the rows of the set' }),
      },
    }),
  ];
  compareWithFirst(rivals);
  return resultOf(one, trie, { selectivity: share }, rivals);
}

function countsOf({ itemCount, leafCount }: ConstraintSet): NonNullable<RivalResult['extras']> {
  return { items: { value: itemCount, unit: 'count' }, leaves: { value: leafCount, unit: 'count' } };
}

interface ServerCase {
  at: string;
  items: number;
  sets: number;
  seed: number;
}

/** A server of its own with a catalog and its sets: what it has resident before, with the items, with the sets. */
async function runServer({ at, items, sets, seed }: ServerCase, context: CaseContext): Promise<CaseResult> {
  const { options, say, signal } = context;
  const parameters = { items, sets, attributes: 5, seed };
  const name = 'espalier-serve';
  if (!canMeasureResident) {
    const reason = 'this system does not say which pages of a process belong to files';
    const rivals: RivalResult[] = [{ name, kind: 'ours', status: 'skipped', reason }];
    return { suite: 'memory', axis: 'server', at, parameters, rivals };
  }
  say('drawing the items');
  const drawn = drawItems(items, seed);
  say('starting a server');
  const server = await SidsServer.start();
  try {
    const sample = () => sampleResident(server.pid, samplesOf[options.size], 50, signal);
    const idle = await sample();
    let base = idle;
    if (items > FIRST_ITEMS) {
      say('uploading a small catalog');
      const first = drawItems(FIRST_ITEMS, seed);
      await server.putCatalog('first');
      await server.upload('first', first.packed, signal);
      await server.client.constraintSets.put('first', 'rule', { rule: priceRule(first, 50, ['c1']).rule });
      base = await sample();
    }
    say('uploading');
    await server.putCatalog('items');
    await server.upload('items', drawn.packed, signal);
    const withItems = await sample();
    let fault: string | undefined;
    const { items: active } = await server.client.catalogs.get('items');
    if (active !== items) fault = `${active} items are active, expected ${items}`;
    for (let index = 0; index < sets; index++) {
      signal.throwIfAborted();
      say(`putting rules in force: ${index + 1} of ${sets}`);
      const { rule, items: expected } = priceRule(drawn, index + 1.5, ['c1', 'c2', `c${3 + (index % 190)}`]);
      const found = await server.client.constraintSets.put('items', `rule-${index}`, { rule });
      if (found.items !== expected) {
        fault ??= `the set of ${rule} has ${found.items} items, expected ${expected}`;
      }
    }
    const withSets = await sample();
    const anonymous = (samples: typeof idle) => medianOf(samples, 'anonymous');
    const rivals = [
      measuredResult({
        name,
        kind: 'ours',
        unit: 'bytes',
        values: withSets.map((one) => one.anonymous),
        verdict: {
          hash: createHash('sha256').update(`${items} ${sets}`).digest('hex').slice(0, 16),
          ...(fault !== undefined && { fault }),
          extras: {
            resident: { value: medianOf(withSets, 'all'), unit: 'bytes' },
            'mapped files': { value: medianOf(withSets, 'files'), unit: 'bytes' },
            'an item, beside mapped files': {
              value: (anonymous(withItems) - anonymous(base)) / items,
              unit: 'bytes/item',
            },
            'mapped files, an item': {
              value: (medianOf(withItems, 'files') - medianOf(base, 'files')) / items,
              unit: 'bytes/item',
            },
            'a set': { value: (anonymous(withSets) - anonymous(withItems)) / sets, unit: 'bytes' },
          },
        },
      }),
      measuredResult({
        name: 'idle-server',
        kind: 'floor',
        unit: 'bytes',
        values: idle.map((one) => one.anonymous),
        verdict: { extras: { resident: { value: medianOf(idle, 'all'), unit: 'bytes' } } },
      }),
    ];
    return { suite: 'memory', axis: 'server', at, parameters, rivals };
  } finally {
    await server.stop();
  }
}

function hashOf({ buffer, byteOffset, byteLength }: ArrayBufferView): string {
  return createHash('sha256')
    .update(new Uint8Array(buffer, byteOffset, byteLength))
    .digest('hex')
    .slice(0, 16);
}

function resultOf(
  { axis, at, shape, count, seed }: CatalogCase,
  { leafCount, codebookSizes: [vocabulary], levelCount }: TrieArrays,
  more: Record<string, number | string>,
  rivals: RivalResult[],
): CaseResult {
  const parameters = {
    shape,
    items: count,
    leaves: leafCount,
    vocabulary,
    sidLength: levelCount,
    seed,
    ...more,
  };
  return { suite: 'memory', axis, at, parameters, rivals };
}
