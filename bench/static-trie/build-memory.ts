/**
 * A process of its own that builds once, and prints how much more memory it held at its peak than before its
 * input was there. Arguments: rows, codebook size, threads, kind.
 */
import { readFileSync } from 'node:fs';
import { chooseKernel } from '../../src/kernels/index.js';
import { buildTrie } from '../../src/static-trie/index.js';
import { makeRows, type RowKind } from './rows.js';

const [rowCount, size, threads] = process.argv.slice(2, 5).map(Number);
const kind = process.argv[5] as RowKind;

function peakBytes(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

// Compiled and warm before the measurement begins.
const small = { codebookSizes: new Array(8).fill(size), rowCount: 1000, codes: makeRows(kind, 1000, size) };
await buildTrie(small, { threads });
const before = peakBytes();
const codes = makeRows(kind, rowCount, size);
const start = performance.now();
const { trie, sortedRows } = await buildTrie(
  { codebookSizes: new Array(8).fill(size), rowCount, codes },
  { threads },
);
console.log(
  JSON.stringify({
    kernel: chooseKernel().name,
    peakBytes: peakBytes() - before,
    coldMs: performance.now() - start,
    leaves: trie.leafCount,
    rows: sortedRows.length,
  }),
);
