/** One explicit level of the trie: its nodes in lexicographic order of their prefixes. */
export interface TopLevel {
  /** [nodes]: the node's own code at this level. */
  codes: Uint16Array | Uint32Array;
  /** [nodes + 1]: the first leaf below the node; the last entry is the leaf count. */
  leafStart: Uint32Array;
  /** [nodes + 1]: the node's first child on the next explicit level; null on the last explicit level. */
  firstChild: Uint32Array | null;
}

/**
 * Level-0 nodes whose children are worth a mask: one bit a code, so that a kernel can compare whole rows of
 * logits. Which nodes get one is chosen by fan-out within a byte budget.
 */
export interface ChildMasks {
  /** [masks]: level-0 nodes, ascending. */
  nodes: Uint32Array;
  /** [masks] of codebookSizes[1] bits, rounded up to 64-bit words: the codes of the node's children. */
  bits: Uint32Array;
  /** [masks, 64-bit words of a mask]: how many of the node's children have a code before the word's first. */
  ranks: Uint32Array;
}

/**
 * A flattened trie in the leaf-range layout: leaves are the distinct SIDs in lexicographic order, and a
 * node at depth d is the range [lo, hi) of leaves that share d codes. The root is [0, leafCount) at depth 0.
 * @see docs/architecture.md#the-static-trie
 */
export interface TrieArrays {
  leafCount: number;
  levelCount: number;
  /** [levelCount]: codes at level d are in [0, codebookSizes[d]). */
  codebookSizes: readonly number[];
  /** [leafCount, levelCount]: the sorted distinct SIDs; u32 where a codebook exceeds 65,536. */
  rows: Uint16Array | Uint32Array;
  /**
   * [levelCount] of [leafCount + 1] bits. Bit i of level d is set where leaf i begins a new node of depth
   * d + 1, so the children of [lo, hi) at depth d begin at the set bits in that range. The bit at leafCount
   * is always set and ends the last node.
   */
  newPrefix: readonly Uint32Array[];
  /** Explicit nodes of level 0 and, where there is one, level 1. */
  topLevels: readonly TopLevel[];
  /** null where no node is worth a mask. */
  childMasks: ChildMasks | null;
}

/**
 * Which items lie on which leaf. Items are numbered in the order (leaf rank, id), so that the items of a leaf
 * are neighbours. Most leaves carry one item; only those that several share are listed, and the rest follows.
 */
export interface LeafItems {
  itemCount: number;
  leafCount: number;
  /** Leaves that several items share, ascending. */
  sharedLeaves: Uint32Array;
  /** [sharedLeaves.length + 1]: the items on shared leaves, numbered on their own: first number of each leaf. */
  sharedStart: Uint32Array;
}

/** One bit an item (or a leaf) on shared leaves, and one a leaf, of a subset of a catalog's items. */
export interface ItemSubset {
  /** [leafCount] bits: leaves with an item of the subset. */
  leafBits: Uint32Array;
  /** [items on shared leaves] bits, in the numbering of `LeafItems.sharedStart`. */
  sharedItemBits: Uint32Array;
}

export type BitOperation = 'and' | 'or' | 'andNot';

/**
 * The set algebra: everything that constraint sets and rules do with bitmaps, word by word. All
 * implementations return the same bits. Results are owned by the caller; bits beyond the end are clear.
 */
export interface SetAlgebra {
  /** Which children of the root and which level-1 nodes have a live leaf below them. */
  deriveLiveLeaves(trie: TrieArrays, leafBits: Uint32Array): LiveLeaves;
  /** Live nodes of each depth 1 … levelCount: how many prefixes of each length a decode may pass. */
  countLiveNodes(trie: TrieArrays, leafBits: Uint32Array): number[];
  /** @param a and `b` of the same length, whole 64-bit words. */
  combine(operation: BitOperation, a: Uint32Array, b: Uint32Array): Uint32Array;
  /** Set bits in [0, bitCount). @param bits wordsFor(bitCount) words. */
  count(bits: Uint32Array, bitCount: number): number;
  /** @param itemBits [itemCount] bits. */
  subsetOf(leafItems: LeafItems, itemBits: Uint32Array): ItemSubset;
  /**
   * Sets or clears each shared leaf's bit by whether one of its items' bits is set; changes `subset`.
   * @returns how many shared leaves are live
   */
  settleSharedLeaves(leafItems: LeafItems, subset: ItemSubset): number;
  /**
   * The leaves that lose their last item of the subset when `excluded` items are taken away.
   * @param excluded item numbers, ascending, without duplicates
   * @param subset   null for all items
   */
  findDeadLeaves(
    leafItems: LeafItems,
    excluded: Uint32Array,
    subset: ItemSubset | null,
  ): { deadLeaves: Uint32Array; excludedFromSubset: number };
}

/** Which leaves are live, and from that which nodes of the top levels have a live leaf below them. */
export interface LiveLeaves {
  /** [leafCount] bits. */
  leafBits: Uint32Array;
  /** [codebookSizes[0]] bits, by code: the root's live children. */
  rootMask: Uint32Array;
  /** [nodes of topLevels[1]] bits; empty for tries of one level. */
  nodeBits: Uint32Array;
}

/** Leaves that one request must not reach: sorted ranks, every one of them live in the request's set. */
export interface DeadLeaves {
  leaves: Uint32Array;
}

/**
 * What one request may reach. Neither it nor what it refers to changes: kernels remember what they have made of it.
 */
export interface Constraint {
  readonly trie: TrieArrays;
  /** null: every leaf is live. */
  readonly live: LiveLeaves | null;
  /** null: nothing is excluded. */
  readonly dead: DeadLeaves | null;
}

/** float32, or float16 as the bits in a Uint16Array. */
export type Logits = Float32Array | Uint16Array;
