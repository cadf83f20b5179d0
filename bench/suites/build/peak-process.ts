/**
 * A process of its own that builds once, and prints how much more memory it held at its peak than before its input was
 * there, and how long that first build took. Arguments: the options of the rows as JSON, the builder's kernel, threads.
 */
import { readFileSync } from 'node:fs';
import { chooseKernel } from '../../../src/kernels/index.js';
import { buildTrie } from '../../../src/static-trie/index.js';
import { drawRows, type RowOptions } from './rows.js';

const options = JSON.parse(process.argv[2]) as RowOptions;
const kernel = chooseKernel(process.argv[3]);
const threads = Number(process.argv[4]);

function peakBytes(): number {
  const status = readFileSync('/proc/self/status', 'utf8');
  return Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) * 1024;
}

// Compiled and warm before the measurement begins.
await buildTrie(drawRows({ ...options, rowCount: Math.min(1000, options.rowCount) }), { threads }, kernel);
const before = peakBytes();
const rows = drawRows(options);
const start = performance.now();
const { trie, sortedRows } = await buildTrie(rows, { threads }, kernel);
const coldMs = performance.now() - start;
console.log(
  JSON.stringify({
    peakBytes: peakBytes() - before,
    coldMs,
    leaves: trie.leafCount,
    rows: sortedRows.length,
  }),
);
