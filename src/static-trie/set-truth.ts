import {
  chooseKernel,
  copyBits,
  firstItemOf,
  isBitSet,
  type LeafItems,
  nextSetBit,
  type SetAlgebra,
  setBit,
  type TrieArrays,
  wordsFor,
} from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import type { AttributeSchema } from './columns.js';
import { type ConstraintSet, constraintSetFromItems } from './constraint-set.js';
import { findLeaf } from './find-leaf.js';
import { compileRule, evaluateRule, type RuleParams } from './rules/index.js';

/** What a set is, whatever the catalog version: its bitmaps are derived from this for each. */
export type SetTruth =
  | { kind: 'rule'; rule: string; params: RuleParams }
  | { kind: 'items'; ids: readonly string[] }
  /** Every item of each SID. */
  | { kind: 'sids'; sids: readonly (readonly number[])[] };

export interface DerivedSet {
  set: ConstraintSet;
  /** Ids or SIDs that the version does not have. */
  unknownCount: number;
}

/**
 * Binds a set to a catalog version.
 * @throws EspalierError ESP_RULE_… where the rule does not fit the schema
 */
export function deriveSet(
  truth: SetTruth,
  version: CatalogVersion,
  schema: AttributeSchema,
  nowMs: number,
): DerivedSet {
  const { bits, unknownCount } = selectItems(truth, version, schema, nowMs);
  return { set: constraintSetFromItems(version.trie, version.leafItems, bits), unknownCount };
}

/** One bit an item. */
export function selectItems(
  truth: SetTruth,
  { trie, leafItems, ids, table }: CatalogVersion,
  schema: AttributeSchema,
  nowMs: number,
): { bits: Uint32Array; unknownCount: number } {
  if (truth.kind === 'rule') {
    const bits = evaluateRule(compileRule(truth.rule, schema, truth.params), table, nowMs);
    return { bits, unknownCount: 0 };
  }
  const bits = new Uint32Array(wordsFor(leafItems.itemCount));
  let unknownCount = 0;
  if (truth.kind === 'items') {
    for (const id of truth.ids) {
      const item = ids.find(id);
      if (item < 0) unknownCount++;
      else setBit(bits, item);
    }
  } else {
    for (const sid of truth.sids) {
      const leaf = findLeaf(trie, sid);
      if (leaf < 0) unknownCount++;
      else setItemsOfLeaf(leafItems, leaf, bits);
    }
  }
  return { bits, unknownCount };
}

/** The set of all items on some leaves. @param leafBits [leafCount] bits. */
export function constraintSetFromLeaves(
  trie: TrieArrays,
  leafItems: LeafItems,
  leafBits: Uint32Array,
  sets: SetAlgebra = chooseKernel().sets,
): ConstraintSet {
  const { sharedLeaves, sharedStart, leafCount, itemCount } = leafItems;
  const itemBits = new Uint32Array(wordsFor(itemCount));
  let leaf = 0;
  let item = 0;
  for (let shared = 0; shared <= sharedLeaves.length; shared++) {
    const runEnd = shared < sharedLeaves.length ? sharedLeaves[shared] : leafCount;
    copyBits(leafBits, leaf, itemBits, item, runEnd - leaf);
    item += runEnd - leaf;
    leaf = runEnd;
    if (shared === sharedLeaves.length) break;
    const end = item + sharedStart[shared + 1] - sharedStart[shared];
    for (; item < end; item++) if (isBitSet(leafBits, leaf)) setBit(itemBits, item);
    leaf++;
  }
  return constraintSetFromItems(trie, leafItems, itemBits, sets);
}

/** The item numbers whose bit is set, ascending. */
export function* itemsOf(itemBits: Uint32Array, itemCount: number): Generator<number> {
  for (let item = nextSetBit(itemBits, 0, itemCount); item < itemCount; ) {
    yield item;
    item = nextSetBit(itemBits, item + 1, itemCount);
  }
}

function setItemsOfLeaf(leafItems: LeafItems, leaf: number, bits: Uint32Array): void {
  const end = firstItemOf(leafItems, leaf + 1);
  for (let item = firstItemOf(leafItems, leaf); item < end; item++) setBit(bits, item);
}
