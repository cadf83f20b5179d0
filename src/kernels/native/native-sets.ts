import { wordsFor } from '../bits.js';
import { sharedItemCount } from '../leaf-items.js';
import type { BitOperation, ItemSubset, LeafItems, LiveLeaves, SetAlgebra, TrieArrays } from '../types.js';
import { type Addon, callNative } from './addon.js';
import { handleOf } from './trie-handle.js';

/** esp_bit_operation. */
const operations: Record<BitOperation, number> = { and: 0, or: 1, andNot: 2 };

/** Of catalogs with shared leaves a bit where each leaf's items begin: made once, and kept as long as the catalog. */
const itemStarts = new WeakMap<LeafItems, Uint32Array>();

function itemStartsOf(addon: Addon, leafItems: LeafItems): Uint32Array | null {
  if (leafItems.sharedLeaves.length === 0) return null;
  let starts = itemStarts.get(leafItems);
  if (starts === undefined) {
    starts = new Uint32Array(wordsFor(leafItems.itemCount + 1));
    addon.itemStarts(leafItems, starts);
    itemStarts.set(leafItems, starts);
  }
  return starts;
}

/** The set algebra on one instruction set. */
export function createNativeSets(addon: Addon, level: number): SetAlgebra {
  return {
    deriveLiveLeaves(trie: TrieArrays, leafBits: Uint32Array): LiveLeaves {
      const rootMask = new Uint32Array(wordsFor(trie.codebookSizes[0]));
      const nodeBits = new Uint32Array(wordsFor(trie.topLevels[1]?.codes.length ?? 0));
      callNative(() => addon.deriveSet(level, handleOf(addon, trie), leafBits, rootMask, nodeBits));
      return { leafBits, rootMask, nodeBits };
    },

    countLiveNodes(trie: TrieArrays, leafBits: Uint32Array): number[] {
      const counts = new Float64Array(trie.levelCount);
      callNative(() => addon.countLiveNodes(level, handleOf(addon, trie), leafBits, counts));
      return Array.from(counts);
    },

    combine(operation: BitOperation, a: Uint32Array, b: Uint32Array): Uint32Array {
      const out = new Uint32Array(a.length);
      callNative(() => addon.combineBits(level, operations[operation], a, b, out));
      return out;
    },

    count(bits: Uint32Array, bitCount: number): number {
      return callNative(() => addon.countBits(level, bits, bitCount));
    },

    subsetOf(leafItems: LeafItems, itemBits: Uint32Array): ItemSubset {
      const leafBits = new Uint32Array(wordsFor(leafItems.leafCount));
      const sharedItemBits = new Uint32Array(wordsFor(sharedItemCount(leafItems)));
      callNative(() =>
        addon.setFromItems(
          level,
          leafItems,
          itemStartsOf(addon, leafItems),
          itemBits,
          leafBits,
          sharedItemBits,
        ),
      );
      return { leafBits, sharedItemBits };
    },

    settleSharedLeaves(leafItems: LeafItems, { leafBits, sharedItemBits }: ItemSubset): number {
      return callNative(() => addon.settleSharedLeaves(leafItems, sharedItemBits, leafBits));
    },

    findDeadLeaves(leafItems: LeafItems, excluded: Uint32Array, subset: ItemSubset | null) {
      const dead = new Uint32Array(excluded.length);
      const { deadCount, inSet } = callNative(() =>
        addon.prepareExclusions(
          leafItems,
          excluded,
          subset?.leafBits ?? null,
          subset?.sharedItemBits ?? null,
          dead,
        ),
      );
      return { deadLeaves: dead.subarray(0, deadCount), excludedFromSubset: inSet };
    },
  };
}
