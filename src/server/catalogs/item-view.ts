import { leafOfItem } from '../../kernels/index.js';
import {
  type AttributeValue,
  buildColumn,
  type CatalogSnapshot,
  type ColumnTable,
  type ConstraintSet,
  explainRule,
  isListed,
  itemsOfLeaf,
  type ListFile,
  type RuleVerdict,
  type SetTruth,
  setHasItem,
  sidOf,
} from '../../static-trie/index.js';

/** An item as the product knows it, with the values that it has now. */
export interface ShownItem {
  id: string;
  sid: number[];
  attributes: Record<string, AttributeValue>;
}

/** A set in force, as it was evaluated last. */
export interface SetToExplain {
  name: string;
  version: number;
  truth: SetTruth;
  /** What `now` stood for. */
  nowMs: number;
}

/** Whether a set allows an item, and why. */
export interface SetVerdict {
  name: string;
  version: number;
  /** What the set says; a removed item is allowed by none. */
  allowed: boolean;
  reason: 'removed' | 'listed' | 'not listed' | 'rule';
  /** Of a rule. */
  rule?: RuleVerdict;
}

/** Everything about one item. */
export interface ItemView extends ShownItem {
  removed: boolean;
  /** Of the other items on its leaf, the ids of the first, and how many there are. */
  sharing: string[];
  sharingCount: number;
  sets: SetVerdict[];
}

const MAX_SHARING = 100;

export function showItem(snapshot: CatalogSnapshot, item: number): ShownItem {
  const { version, schema } = snapshot;
  const attributes: Record<string, AttributeValue> = {};
  for (const name of Object.keys(schema)) {
    const value = snapshot.jsonValueOf(name, item);
    if (value !== undefined) attributes[name] = value;
  }
  return { id: version.ids.at(item), sid: Array.from(sidOf(version, item)), attributes };
}

/**
 * @param evaluated what a list came to for the version, where that is known: its file is not read then
 * @returns undefined where the catalog version has no such item.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT where a list that has to be read is damaged or gone
 */
export function viewItem(
  snapshot: CatalogSnapshot,
  id: string,
  sets: readonly SetToExplain[],
  evaluated: (list: ListFile) => ConstraintSet | undefined,
): ItemView | undefined {
  const { version } = snapshot;
  const item = version.ids.find(id);
  if (item < 0) return undefined;
  const sharing = itemsOfLeaf(version, leafOfItem(version.leafItems, item)).filter((one) => one !== item);
  const row = rowOf(snapshot, item);
  return {
    ...showItem(snapshot, item),
    removed: snapshot.isRemoved(item),
    sharing: sharing.slice(0, MAX_SHARING).map((one) => version.ids.at(one)),
    sharingCount: sharing.length,
    sets: sets.map((set) => verdictOf(snapshot, item, row, set, evaluated)),
  };
}

function verdictOf(
  snapshot: CatalogSnapshot,
  item: number,
  row: ColumnTable,
  { name, version, truth, nowMs }: SetToExplain,
  evaluated: (list: ListFile) => ConstraintSet | undefined,
): SetVerdict {
  const isRemoved = snapshot.isRemoved(item);
  if (truth.kind === 'list') {
    const set = evaluated(truth);
    const isNamed =
      set === undefined
        ? isListed(truth, snapshot.version, item)
        : setHasItem(snapshot.version.leafItems, set, item);
    const reason = isRemoved ? 'removed' : isNamed ? 'listed' : 'not listed';
    return { name, version, allowed: isNamed && !isRemoved, reason };
  }
  const rule = explainRule(truth.rule, snapshot.schema, truth.params, row, 0, nowMs);
  const allowed = rule.verdict === 'true' && !isRemoved;
  return { name, version, allowed, reason: isRemoved ? 'removed' : 'rule', rule };
}

/** A table of the item alone, with its values as they are now. */
function rowOf(snapshot: CatalogSnapshot, item: number): ColumnTable {
  const columns = Object.entries(snapshot.schema).map(
    ([name, { type }]) => [name, buildColumn(type, [snapshot.valueOf(name, item)])] as const,
  );
  return { itemCount: 1, columns: new Map(columns) };
}
