import { countBits, isBitSet, nextSetBit, previousSetBit } from './bits.js';
import type { DeadLeaves, LiveLeaves, TopLevel, TrieArrays } from './types.js';

/** A growing list of children: code and leaf range, in ascending order of the codes. */
export class ChildList {
  count = 0;
  codes = new Uint32Array(256);
  lo = new Uint32Array(256);
  hi = new Uint32Array(256);

  push(code: number, lo: number, hi: number): void {
    if (this.count === this.codes.length) this.#grow();
    this.codes[this.count] = code;
    this.lo[this.count] = lo;
    this.hi[this.count] = hi;
    this.count++;
  }

  #grow(): void {
    for (const name of ['codes', 'lo', 'hi'] as const) {
      const larger = new Uint32Array(this[name].length * 2);
      larger.set(this[name]);
      this[name] = larger;
    }
  }
}

/** Puts the live children of node [lo, hi) at `depth` into `children`. */
export function listLiveChildren(
  trie: TrieArrays,
  depth: number,
  lo: number,
  hi: number,
  live: LiveLeaves | null,
  dead: DeadLeaves | null,
  children: ChildList,
): void {
  children.count = 0;
  if (depth < trie.topLevels.length) listTopLevel(trie, depth, lo, live, dead, children);
  else if (live === null) listAll(trie, depth, lo, hi, dead, children);
  else listByLiveLeaves(trie, depth, lo, hi, live, dead, children);
}

/** The root's children, or those of a level-0 node: explicit, with one live bit for each. */
function listTopLevel(
  trie: TrieArrays,
  depth: number,
  lo: number,
  live: LiveLeaves | null,
  dead: DeadLeaves | null,
  children: ChildList,
): void {
  const level = trie.topLevels[depth];
  let first = 0;
  let end = level.codes.length;
  if (depth === 1) {
    const parent = trie.topLevels[0];
    const node = nodeStartingAt(parent, lo);
    first = parent.firstChild![node];
    end = parent.firstChild![node + 1];
  }
  for (let node = first; node < end; node++) {
    const code = level.codes[node];
    if (live !== null && !(depth === 0 ? isBitSet(live.rootMask, code) : isBitSet(live.nodeBits, node))) {
      continue;
    }
    const childLo = level.leafStart[node];
    const childHi = level.leafStart[node + 1];
    if (survives(childLo, childHi, live, dead)) children.push(code, childLo, childHi);
  }
}

/** Without a set, every new-prefix bit in the range begins a live child. */
function listAll(
  trie: TrieArrays,
  depth: number,
  lo: number,
  hi: number,
  dead: DeadLeaves | null,
  children: ChildList,
): void {
  const starts = trie.newPrefix[depth];
  for (let childLo = lo; childLo < hi; ) {
    const childHi = nextSetBit(starts, childLo + 1, hi);
    if (survives(childLo, childHi, null, dead)) {
      children.push(trie.rows[childLo * trie.levelCount + depth], childLo, childHi);
    }
    childLo = childHi;
  }
}

/**
 * With a set, jump from live leaf to live leaf: each lies in a live child, whose ends are the new-prefix
 * bits around it. Children without a live leaf are never looked at, which is what keeps rare sets fast.
 */
function listByLiveLeaves(
  trie: TrieArrays,
  depth: number,
  lo: number,
  hi: number,
  live: LiveLeaves,
  dead: DeadLeaves | null,
  children: ChildList,
): void {
  const starts = trie.newPrefix[depth];
  for (let leaf = nextSetBit(live.leafBits, lo, hi); leaf < hi; ) {
    const childLo = Math.max(lo, previousSetBit(starts, lo, leaf));
    const childHi = nextSetBit(starts, leaf + 1, hi);
    if (survives(childLo, childHi, live, dead)) {
      children.push(trie.rows[leaf * trie.levelCount + depth], childLo, childHi);
    }
    leaf = nextSetBit(live.leafBits, childHi, hi);
  }
}

/** Whether a range with live leaves keeps one of them after the request's exclusions. */
function survives(lo: number, hi: number, live: LiveLeaves | null, dead: DeadLeaves | null): boolean {
  if (dead === null) return true;
  const deadCount = lowerBound(dead.leaves, hi) - lowerBound(dead.leaves, lo);
  if (deadCount === 0) return true;
  return deadCount < (live === null ? hi - lo : countBits(live.leafBits, lo, hi));
}

/** The node of `level` whose leaf range begins at `leaf`. */
function nodeStartingAt(level: TopLevel, leaf: number): number {
  return lowerBound(level.leafStart, leaf);
}

/** The first index whose value is ≥ `value` in a sorted array. */
export function lowerBound(sorted: Uint32Array, value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}
