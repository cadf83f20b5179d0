import type { StepBatch, StepInput, TrieArrays } from '../../src/kernels/index.js';
import type { RivalResult } from '../harness/types.js';

/**
 * What a rival's winners have to do with those that are right:
 * - exact: the same, in the same order
 * - superset: it lets children pass that do not exist; those of its winners that do are the best
 * - subset: it overlooks children; those that it finds exist
 * - none: it keeps no children
 */
export type Agreement = 'exact' | 'superset' | 'subset' | 'none';

/** A batch of requests to be decoded: what each may reach, all of one shape. */
export interface Seats {
  /** [requests]: the number of the structure that each request decodes under. */
  tableOf: readonly number[];
  beamWidth: number;
  vocabSize: number;
}

/**
 * A way to constrain the decode step, ready to step one batch. It works on a `StepBatch` as the kernels do, but for
 * what a node's two numbers mean: that is its own. Logits must be finite, or -infinity.
 */
export interface Rival {
  readonly batch: StepBatch;
  /** Whether a node's numbers are the leaves below it, as ours are, or something of its own. */
  readonly numbering: 'leaf ranges' | 'its own';
  /** Its numbers of the node that a prefix of a SID leads to. */
  locate(request: number, prefix: Uint32Array): Node;
  /** One step of all requests, log-softmax and choice of the best included, and where the winners lead. */
  step(input: StepInput): void;
}

export interface Node {
  lo: number;
  hi: number;
}

/** What is kept of one set of SIDs. */
export interface Structure {
  bytes: number;
}

/** How much a structure takes, and why it cannot be, where it cannot. */
export interface Demand {
  bytes: number;
  refusal?: string;
}

/** One idea of how to constrain a decode. */
export interface Idea<Kept extends Structure = Structure> {
  /** The same in every report. */
  name: string;
  kind: RivalResult['kind'];
  agreement: Agreement;
  /** What `build` would need, the structure and what is used on the way, without building it. */
  demand(sids: TrieArrays): Demand;
  /** @param sids sorted distinct SIDs; where their prefixes begin may be used, too. Kept, not copied. */
  build(sids: TrieArrays): Kept | Promise<Kept>;
  start(structures: readonly Kept[], sids: readonly TrieArrays[], seats: Seats): Rival;
}

/** The nodes of every level 1 … L of sorted SIDs. */
export function nodeCounts({ leafCount, levelCount, newPrefix }: TrieArrays): number[] {
  return Array.from({ length: levelCount }, (_, level) => countBits(newPrefix[level], leafCount));
}

function countBits(words: Uint32Array, bitCount: number): number {
  let count = 0;
  for (let word = 0; word < Math.ceil(bitCount / 32); word++) {
    let bits = words[word];
    // The bit behind the last leaf is set as well.
    if (word === bitCount >>> 5) bits &= (1 << (bitCount & 31)) - 1;
    bits -= (bits >>> 1) & 0x55555555;
    bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
    count += Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}

/** The first level at which a leaf differs from the one before: where its new nodes begin. */
export function firstNewLevel(rows: Uint16Array | Uint32Array, levels: number, leaf: number): number {
  if (leaf === 0) return 0;
  let level = 0;
  for (let at = leaf * levels; rows[at + level] === rows[at + level - levels]; ) level++;
  return level;
}

/** The leaves [lo, hi) below a prefix; lo = hi where there are none. */
export function leavesBelow(trie: TrieArrays, prefix: ArrayLike<number>): Node {
  let node = { lo: 0, hi: trie.leafCount };
  for (let level = 0; level < prefix.length && node.lo < node.hi; level++) {
    node = narrow(trie, level, node, prefix[level]);
  }
  return node;
}

/** Of leaves with equal codes before `level`, those with this code there. */
export function narrow(trie: TrieArrays, level: number, { lo, hi }: Node, code: number): Node {
  const first = boundary(trie, level, { lo, hi }, (found) => found < code);
  return { lo: first, hi: boundary(trie, level, { lo: first, hi }, (found) => found <= code) };
}

/** The first leaf of a range whose code at `level` does not pass. */
function boundary(
  { rows, levelCount }: TrieArrays,
  level: number,
  { lo, hi }: Node,
  passes: (code: number) => boolean,
): number {
  while (lo < hi) {
    const middle = lo + ((hi - lo) >>> 1);
    if (passes(rows[middle * levelCount + level])) lo = middle + 1;
    else hi = middle;
  }
  return lo;
}
