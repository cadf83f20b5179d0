import type { CatalogVersion } from './catalog-version.js';
import type { AttributeSchema } from './columns.js';
import { type ConstraintSet, constraintSetFromItems } from './constraint-set.js';
import { type ListedItems, type ListFile, selectListed } from './list-file.js';
import { compileRule, evaluateRule, type RuleParams } from './rules/index.js';

/** What a set is, whatever the catalog version: its bitmaps are derived from this for each. */
export type SetTruth = { kind: 'rule'; rule: string; params: RuleParams } | ({ kind: 'list' } & ListFile);

export interface DerivedSet extends Omit<ListedItems, 'bits'> {
  set: ConstraintSet;
}

/**
 * Binds a set to a catalog version.
 * @throws EspalierError ESP_RULE_… where the rule does not fit the schema; ESP_ARTIFACT_CORRUPT where the list is damaged
 */
export function deriveSet(
  truth: SetTruth,
  version: CatalogVersion,
  schema: AttributeSchema,
  nowMs: number,
): DerivedSet {
  const { bits, ...unknown } = selectItems(truth, version, schema, nowMs);
  return { set: constraintSetFromItems(version.trie, version.leafItems, bits), ...unknown };
}

/** The items of a set, one bit each. */
export function selectItems(
  truth: SetTruth,
  version: CatalogVersion,
  schema: AttributeSchema,
  nowMs: number,
): ListedItems {
  if (truth.kind === 'list') return selectListed(truth, version);
  const bits = evaluateRule(compileRule(truth.rule, schema, truth.params), version.table, nowMs);
  return { bits, unknownCount: 0, unknown: [] };
}
