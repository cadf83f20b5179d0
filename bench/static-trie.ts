import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { AND, chooseKernel, OR, type ScanProgram, wordsFor } from '../src/kernels/index.js';
import {
  type BuiltTrie,
  buildStaticTrie,
  buildTrie,
  constraintSetFromItems,
  openTrieFile,
  prepareExclusions,
  setByteLength,
  trieByteLength,
  writeTrieFile,
} from '../src/static-trie/index.js';
import { spreadOf, timeMs as time } from './harness/statistics.js';
import { makeRows, type RowKind } from './static-trie/rows.js';

/**
 * Building, opening, sets, rules and exclusions at the paper's size. Every part is checked before it is timed.
 * The yardstick of the build is numpy's lexsort of the same rows in the same run.
 */
const { values } = parseArgs({
  options: {
    rows: { type: 'string', default: '20000000' },
    'codebook-size': { type: 'string', default: '2048' },
    runs: { type: 'string', default: '5' },
    'lexsort-runs': { type: 'string', default: '2' },
    kinds: { type: 'string', default: 'uniform,skewed,real-shaped' },
    /** Also 100 million rows, which take about 6 GB. */
    large: { type: 'boolean', default: false },
    out: { type: 'string' },
  },
});

/** From a run of the reference implementation elsewhere; see docs/benchmarks.md. */
const REFERENCE_BUILD_MS = 25_600;
const LEVELS = 8;
const rowCount = Number(values.rows);
const size = Number(values['codebook-size']);
const runs = Number(values.runs);
const codebookSizes = new Array<number>(LEVELS).fill(size);
const folder = mkdtempSync(join(tmpdir(), 'espalier-bench-'));
const kernel = chooseKernel();
const results: Record<string, unknown>[] = [];

interface Row {
  what: string;
  ms: number;
  beside?: string;
}
const table: Row[] = [];

try {
  await verifyBuilder();
  for (const kind of values.kinds.split(',') as RowKind[]) await measureBuild(kind);
  await measureRest();
  if (values.large) measureLarge();
  report();
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function verifyBuilder(): Promise<void> {
  for (const kind of ['uniform', 'skewed', 'real-shaped'] as const) {
    const rows = { codebookSizes, rowCount: 100_000, codes: makeRows(kind, 100_000, size) };
    if (fingerprint(await buildTrie(rows, { threads: 2 })) !== fingerprint(buildStaticTrie(rows))) {
      throw new Error(`the builders disagree on ${kind} rows`);
    }
  }
}

/** The memory of the build before must not be given back during the next. */
async function collectGarbage(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    globalThis.gc?.();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

function fingerprint({ trie, sortedRows, leafItems }: BuiltTrie): string {
  const hash = createHash('sha256');
  const arrays = [
    trie.rows,
    ...trie.newPrefix,
    ...trie.topLevels.flatMap((top) => [top.codes, top.leafStart]),
  ];
  for (const array of [...arrays, sortedRows, leafItems.sharedLeaves, leafItems.sharedStart]) {
    hash.update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
  return hash.digest('hex').slice(0, 16);
}

async function measureBuild(kind: RowKind): Promise<void> {
  const codes = makeRows(kind, rowCount, size);
  const rows = { codebookSizes, rowCount, codes };
  const built: Record<number, number[]> = { 1: [], 2: [] };
  let hash = '';
  let bytesPerItem = 0;
  let leaves = 0;
  // Interleaved, so that a slow moment of the machine hits both; the first round warms up.
  for (let round = 0; round <= runs; round++) {
    for (const threads of [1, 2]) {
      await collectGarbage();
      const start = performance.now();
      const result = await buildTrie(rows, { threads });
      const ms = performance.now() - start;
      if (round > 0) built[threads].push(ms);
      if (round > 0) continue;
      const found = fingerprint(result);
      if (hash !== '' && hash !== found) throw new Error('one and two threads disagree');
      hash = found;
      leaves = result.trie.leafCount;
      bytesPerItem = trieByteLength(result.trie) / leaves;
    }
  }
  const lexsort = measureLexsort(codes);
  const memory = [1, 2].map((threads) => measureMemory(rowCount, threads, kind));
  for (const threads of [1, 2]) {
    const { p50 } = spreadOf(built[threads]);
    const ratios = lexsort.length > 0 ? `${(spreadOf(lexsort).p50 / p50).toFixed(1)}x lexsort; ` : '';
    const reference =
      rowCount === 20_000_000 ? `${(REFERENCE_BUILD_MS / p50).toFixed(1)}x the reference's 25.6 s; ` : '';
    const peak = `peak ${(memory[threads - 1].peakBytes / 1e6).toFixed(0)} MB`;
    table.push({
      what: `build, ${kind}, ${threads} thread${threads > 1 ? 's' : ''}`,
      ms: p50,
      beside: ratios + reference + peak,
    });
  }
  table.push({
    what: `trie, ${kind}`,
    ms: Number.NaN,
    beside: `${leaves} leaves, ${bytesPerItem.toFixed(2)} bytes each`,
  });
  results.push({
    what: 'build',
    kind,
    rows: rowCount,
    leaves,
    bytesPerItem,
    hash,
    oneThreadMs: spreadOf(built[1]),
    twoThreadsMs: spreadOf(built[2]),
    lexsortMs: lexsort.length > 0 ? spreadOf(lexsort) : null,
    peakBytes: memory.map(({ peakBytes }) => peakBytes),
    coldMs: memory.map(({ coldMs }) => coldMs),
  });
}

function measureLexsort(codes: Uint16Array): number[] {
  const path = join(folder, 'rows.npy');
  const description = `{'descr': '<u2', 'fortran_order': False, 'shape': (${rowCount}, ${LEVELS}), }`;
  const header = Buffer.alloc(128, ' ');
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(118, 8);
  header.write(description, 10);
  header.write('\n', 127);
  writeFileSync(path, header);
  writeFileSync(path, new Uint8Array(codes.buffer), { flag: 'a' });
  const script = fileURLToPath(new URL('static-trie/lexsort.py', import.meta.url));
  const { status, stdout, stderr } = spawnSync('/usr/bin/python3', [script, path, values['lexsort-runs']], {
    encoding: 'utf8',
  });
  rmSync(path);
  if (status !== 0) {
    console.warn(
      `no lexsort beside it: ${stderr.trim().split('\n').at(-1)} (Debian: apt-get install python3-numpy)`,
    );
    return [];
  }
  return stdout.trim().split('\n').map(Number);
}

function measureMemory(
  count: number,
  threads: number,
  kind: RowKind,
): { peakBytes: number; coldMs: number; leaves: number } {
  const script = fileURLToPath(new URL('static-trie/build-memory.ts', import.meta.url));
  const args = ['--import', 'tsx', script, String(count), String(size), String(threads), kind];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as { peakBytes: number; coldMs: number; leaves: number };
}

/** Opening, sets, rules and exclusions, on uniform rows. */
async function measureRest(): Promise<void> {
  const { trie, leafItems } = await buildTrie({
    codebookSizes,
    rowCount,
    codes: makeRows('uniform', rowCount, size),
  });
  const path = join(folder, 'trie');
  writeTrieFile(path, trie);
  record('open a trie file', await time(runs * 4, 1, () => openTrieFile(path)));

  const { leafCount, itemCount } = leafItems;
  for (const selectivity of [0.5, 0.1, 0.001]) {
    const itemBits = randomBits(itemCount, selectivity);
    const set = constraintSetFromItems(trie, leafItems, itemBits);
    const times = await time(runs * 6, 2, () => kernel.sets.deriveLiveLeaves(trie, set.live.leafBits));
    record(
      `set decodable after its bitmaps, ${selectivity * 100} %`,
      times,
      `${(setByteLength(set) / 1e6).toFixed(2)} MB`,
    );
    const whole = await time(runs * 4, 2, () => constraintSetFromItems(trie, leafItems, itemBits));
    record(`set from item bits, counted, ${selectivity * 100} %`, whole);
    const excluded = Uint32Array.from({ length: 500 }, (_, index) => Math.floor((index * itemCount) / 500));
    const exclusions = await time(2000, 200, () => prepareExclusions(leafItems, set, excluded));
    record(`500 exclusions, set of ${selectivity * 100} %`, exclusions);
  }
  const [a, b] = [randomBits(leafCount, 0.5), randomBits(leafCount, 0.5)];
  for (const operation of ['and', 'or', 'andNot'] as const) {
    record(
      `${operation} of two bitmaps`,
      await time(runs * 6, 2, () => kernel.sets.combine(operation, a, b)),
    );
  }
  await measureRules(itemCount);
}

/** (category != 7 && region in [...]) || (price < 30000 && !(date >= 2^30)): one, one, two and four bytes an item. */
async function measureRules(itemCount: number): Promise<void> {
  const bytes = new Uint32Array(itemCount * 2);
  let state = 12345;
  for (let index = 0; index < bytes.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state;
  }
  const category = new Uint8Array(itemCount).map((_, item) => bytes[item] & 31);
  const region = new Uint8Array(itemCount).map((_, item) => bytes[item] >>> 8);
  const price = new Uint16Array(itemCount).map((_, item) => bytes[item] >>> 16);
  const date = bytes.subarray(itemCount);
  const flags = new Uint32Array(8).map((_, index) => 0x9e3779b9 * (index + 1));
  const present = null;
  const program: ScanProgram = {
    itemCount,
    leaves: [
      { kind: 'range', codes: category, low: 7, high: 7, negate: true, present },
      { kind: 'flags', codes: region, flags, negate: false, present },
      { kind: 'range', codes: price, low: 0, high: 29_999, negate: false, present },
      { kind: 'range', codes: date, low: 2 ** 30, high: 2 ** 32 - 1, negate: true, present },
    ],
    postfix: Int32Array.of(0, 1, AND, 2, 3, AND, OR),
  };
  const bits = kernel.scan(program, 1);
  for (let item = 0; item < itemCount; item += 997) {
    const expected =
      (category[item] !== 7 && ((flags[region[item] >>> 5] >>> (region[item] & 31)) & 1) === 1) ||
      (price[item] < 30_000 && date[item] < 2 ** 30);
    if (((bits[item >>> 5] >>> (item & 31)) & 1) !== Number(expected))
      throw new Error(`wrong at item ${item}`);
  }
  const source = new Uint8Array(bytes.buffer);
  const target = new Uint8Array(source.length);
  const copies: number[] = [];
  const scans: number[] = [];
  for (let round = -1; round < runs * 4; round++) {
    const [copy] = await time(1, 0, () => target.set(source));
    const [scan] = await time(1, 0, () => kernel.scan(program, 1));
    if (round < 0) continue;
    copies.push(copy);
    scans.push(scan);
  }
  record('copy the 8 bytes an item that the rule reads', copies);
  record(
    'rule of 4 predicates, 1 thread',
    scans,
    `${(spreadOf(scans).p50 / spreadOf(copies).p50).toFixed(2)}x the copy`,
  );
  record('rule of 4 predicates, 2 threads', await time(runs * 4, 1, () => kernel.scan(program, 2)));
}

function measureLarge(): void {
  const { peakBytes, coldMs, leaves } = measureMemory(100_000_000, 2, 'uniform');
  table.push({
    what: 'build, 100M uniform rows, 2 threads, cold',
    ms: coldMs,
    beside: `peak ${(peakBytes / 1e9).toFixed(2)} GB, ${leaves} leaves`,
  });
  results.push({ what: 'build of 100M rows', coldMs, peakBytes, leaves });
}

function randomBits(count: number, probability: number): Uint32Array {
  const bits = new Uint32Array(wordsFor(count));
  let state = 99;
  const limit = probability * 2 ** 32;
  for (let bit = 0; bit < count; bit++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    if (state >>> 0 < limit) bits[bit >>> 5] |= 1 << (bit & 31);
  }
  return bits;
}

function record(what: string, times: number[], beside?: string): void {
  const summary = spreadOf(times);
  table.push({ what, ms: summary.p50, ...(beside !== undefined && { beside }) });
  results.push({ what, ms: summary, ...(beside !== undefined && { beside }) });
}

function report(): void {
  const machine = { cpu: cpus()[0].model, cores: cpus().length, node: process.version, kernel: kernel.name };
  console.log(`${rowCount} rows of ${LEVELS} codes below ${size}; ${JSON.stringify(machine)}; medians`);
  for (const { what, ms, beside } of table) {
    const shown = Number.isNaN(ms) ? '' : ms < 1 ? `${(ms * 1000).toFixed(1)} µs` : `${ms.toFixed(2)} ms`;
    console.log(`${what.padEnd(52)} ${shown.padStart(12)}  ${beside ?? ''}`);
  }
  if (values.out === undefined) return;
  mkdirSync(new URL('results/', import.meta.url), { recursive: true });
  const result = { machine, rows: rowCount, levels: LEVELS, codebookSize: size, results };
  writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`);
}
