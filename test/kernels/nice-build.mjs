// Becomes nice on one thread, builds a trie there, and prints how many threads were so nice at most, and afterwards.
import { readdirSync, readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { setPriority } from 'node:os';

const NICENESS = 7;
const ROWS = 6_000_000;
const addon = createRequire(import.meta.url)('../../build/Release/espalier.node');

/** Field 19 of each thread's stat. */
function countNice() {
  const stats = readdirSync('/proc/self/task').map((thread) => {
    try {
      return readFileSync(`/proc/self/task/${thread}/stat`, 'utf8').split(') ')[1].split(' ')[16];
    } catch {
      return undefined; // It has ended meanwhile.
    }
  });
  return stats.filter((niceness) => Number(niceness) === NICENESS).length;
}

const codes = new Uint16Array(ROWS * 3).map((_, index) => Math.imul(index, 40_503) & 255);
// Node's own threads, which everyone shares, begin with the first of such calls.
await stat('.');
setPriority(0, NICENESS);
const { trie } = addon.startBuild(codes, Uint32Array.of(256, 256, 256), ROWS, 2, 0, 1 << 20);
let most = 0;
const timer = setInterval(() => {
  most = Math.max(most, countNice());
}, 1);
await trie;
clearInterval(timer);
console.log(JSON.stringify({ most, after: countNice() }));
