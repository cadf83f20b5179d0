import { firstItemOf, type LeafItems, setBit, wordsFor } from '../kernels/index.js';
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

function setItemsOfLeaf(leafItems: LeafItems, leaf: number, bits: Uint32Array): void {
  const end = firstItemOf(leafItems, leaf + 1);
  for (let item = firstItemOf(leafItems, leaf); item < end; item++) setBit(bits, item);
}
