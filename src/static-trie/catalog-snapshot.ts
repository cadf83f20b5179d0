import { allBits, clearBit, isBitSet, setBit, wordsFor } from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import { buildColumn } from './column-builder.js';
import { type AttributeSchema, type AttributeValue, type ColumnTable, valueAt } from './columns.js';
import { type ConstraintSet, combineSets, constraintSetFromItems, patchSet } from './constraint-set.js';
import { compileRule, evaluateRule, type RuleParams } from './rules/index.js';
import { deriveSet, type SetTruth } from './set-truth.js';

/** Removals that a request takes as exclusions; beyond them they are folded into the set that it asks for. */
const MAX_PENDING_REMOVALS = 256;

/** New values of one item's attributes; null is missing from now on. */
export interface ItemUpdate {
  id: string;
  attributes: Readonly<Record<string, AttributeValue | null>>;
}

/** A set's truth, and its bitmaps for the snapshot's version. */
export interface BoundSet {
  readonly truth: SetTruth;
  /** The attributes that its rule reads; none for lists. */
  readonly attributes: readonly string[];
  /** What `now` stood for. */
  readonly nowMs: number;
  /** Without regard to removed items. */
  readonly set: ConstraintSet;
}

/** What a request decodes under: a set, and items that it must not get beside its own exclusions. */
export interface EffectiveSet {
  /** null: all items. */
  set: ConstraintSet | null;
  /** Item numbers in any order. */
  excluded: readonly number[];
}

/** The items whose attributes differ from the version's, with all their values as they are now. */
interface ChangedItems {
  /** item → its row in the table. */
  rows: ReadonlyMap<number, number>;
  table: ColumnTable;
}

/** Items removed since the version was built, in that order. Snapshots share it, each up to its own count. */
class Removals {
  readonly items: number[] = [];
  readonly positions = new Map<number, number>();
}

interface Parts {
  removals: Removals;
  removedCount: number;
  changed: ChangedItems | null;
  sets: ReadonlyMap<string, BoundSet>;
}

/**
 * A catalog version with the small changes made since it was built, and its sets: immutable. A request takes
 * the snapshot it began with to its end; a change makes a new one.
 */
export class CatalogSnapshot {
  readonly version: CatalogVersion;
  readonly schema: AttributeSchema;
  readonly sets: ReadonlyMap<string, BoundSet>;
  readonly #removals: Removals;
  readonly #removedCount: number;
  readonly #changed: ChangedItems | null;

  private constructor(version: CatalogVersion, schema: AttributeSchema, parts: Parts) {
    this.version = version;
    this.schema = schema;
    this.#removals = parts.removals;
    this.#removedCount = parts.removedCount;
    this.#changed = parts.changed;
    this.sets = parts.sets;
  }

  static of(version: CatalogVersion, schema: AttributeSchema): CatalogSnapshot {
    const parts = { removals: new Removals(), removedCount: 0, changed: null, sets: new Map() };
    return new CatalogSnapshot(version, schema, parts);
  }

  get removedCount(): number {
    return this.#removedCount;
  }

  isRemoved(item: number): boolean {
    return (this.#removals.positions.get(item) ?? this.#removedCount) < this.#removedCount;
  }

  /** Item `item`'s value as it is now, or undefined where it is missing. */
  valueOf(name: string, item: number): AttributeValue | undefined {
    const row = this.#changed?.rows.get(item);
    const table = row === undefined ? this.version.table : this.#changed!.table;
    const column = table.columns.get(name);
    return column && valueAt(column, row ?? item);
  }

  /** What a request under a set gets, or, with null, one under none. */
  effectiveSet(name: string | null): EffectiveSet {
    const bound = name === null ? undefined : this.sets.get(name);
    return this.withoutRemoved(bound?.set ?? null);
  }

  /**
   * Takes removed items out of a set: the latest as exclusions; many at once by folding them in, which later
   * requests find done.
   */
  withoutRemoved(set: ConstraintSet | null): EffectiveSet {
    const key = set ?? this.#removals;
    const fold = folds.get(key);
    const isOurs = fold?.removals === this.#removals && fold.count <= this.#removedCount;
    const foldedCount = isOurs ? fold.count : 0;
    const base = isOurs ? fold.set : set;
    const pending = this.#removedCount - foldedCount;
    if (pending <= MAX_PENDING_REMOVALS) {
      return { set: base, excluded: this.#removals.items.slice(foldedCount, this.#removedCount) };
    }
    const folded = this.#fold(set);
    folds.set(key, { set: folded, removals: this.#removals, count: this.#removedCount });
    return { set: folded, excluded: [] };
  }

  /** The items for which a rule is true, removed ones among them. */
  evaluate(rule: string, params: RuleParams, nowMs: number): Uint32Array {
    const compiled = compileRule(rule, this.schema, params);
    const bits = evaluateRule(compiled, this.version.table, nowMs);
    if (this.#changed === null) return bits;
    const { rows, table } = this.#changed;
    const verdicts = evaluateRule(compiled, table, nowMs);
    for (const [item, row] of rows) {
      if (isBitSet(verdicts, row)) setBit(bits, item);
      else clearBit(bits, item);
    }
    return bits;
  }

  /** @throws EspalierError ESP_RULE_… where its rule does not fit the schema */
  withSet(name: string, truth: SetTruth, nowMs: number): CatalogSnapshot {
    const { version, schema } = this;
    const attributes = truth.kind === 'rule' ? compileRule(truth.rule, schema, truth.params).attributes : [];
    const set =
      truth.kind === 'rule'
        ? constraintSetFromItems(
            version.trie,
            version.leafItems,
            this.evaluate(truth.rule, truth.params, nowMs),
          )
        : deriveSet(truth, version, schema, nowMs).set;
    return this.#with({ sets: new Map(this.sets).set(name, { truth, attributes, nowMs, set }) });
  }

  withoutSet(name: string): CatalogSnapshot {
    const sets = new Map(this.sets);
    sets.delete(name);
    return this.#with({ sets });
  }

  /** Ids that the catalog does not have (any more) are given back in `unknown`. */
  withRemoved(ids: readonly string[]): { snapshot: CatalogSnapshot; unknown: string[] } {
    // Another snapshot may have gone on from here: then the list is its, and this one begins a copy.
    const isLatest = this.#removals.items.length === this.#removedCount;
    const removals = isLatest ? this.#removals : this.#copyRemovals();
    const unknown: string[] = [];
    for (const id of ids) {
      const item = this.version.ids.find(id);
      if (item < 0 || removals.positions.has(item)) unknown.push(id);
      else removals.positions.set(item, removals.items.push(item) - 1);
    }
    return { snapshot: this.#with({ removals, removedCount: removals.items.length }), unknown };
  }

  /**
   * Changes attributes. Only the sets whose rule reads one of them are evaluated again, and only for the items
   * that changed. Each name must be one of the schema's, and each value fit its type.
   */
  withUpdated(updates: readonly ItemUpdate[]): { snapshot: CatalogSnapshot; unknown: string[] } {
    const values = this.#changedValues();
    const touched = new Set<string>();
    const unknown: string[] = [];
    for (const { id, attributes } of updates) {
      const item = this.version.ids.find(id);
      if (item < 0 || this.isRemoved(item)) {
        unknown.push(id);
        continue;
      }
      const now = values.get(item) ?? this.#valuesOf(item);
      for (const [name, value] of Object.entries(attributes)) {
        touched.add(name);
        now.set(name, value ?? undefined);
      }
      values.set(item, now);
    }
    const changed = this.#tableOf(values);
    const next = this.#with({ changed });
    return { snapshot: next.#with({ sets: next.#reevaluated(touched) }), unknown };
  }

  #with(change: Partial<Parts>): CatalogSnapshot {
    return new CatalogSnapshot(this.version, this.schema, {
      removals: this.#removals,
      removedCount: this.#removedCount,
      changed: this.#changed,
      sets: this.sets,
      ...change,
    });
  }

  #copyRemovals(): Removals {
    const copy = new Removals();
    for (const item of this.#removals.items.slice(0, this.#removedCount)) {
      copy.positions.set(item, copy.items.push(item) - 1);
    }
    return copy;
  }

  #fold(set: ConstraintSet | null): ConstraintSet {
    const { trie, leafItems } = this.version;
    const bits = new Uint32Array(wordsFor(leafItems.itemCount));
    for (const item of this.#removals.items.slice(0, this.#removedCount)) setBit(bits, item);
    const removed = constraintSetFromItems(trie, leafItems, bits);
    const all = set ?? constraintSetFromItems(trie, leafItems, allBits(leafItems.itemCount));
    return combineSets('andNot', trie, leafItems, all, removed);
  }

  #valuesOf(item: number): Map<string, AttributeValue | undefined> {
    return new Map(Object.keys(this.schema).map((name) => [name, this.valueOf(name, item)]));
  }

  #changedValues(): Map<number, Map<string, AttributeValue | undefined>> {
    return new Map([...(this.#changed?.rows.keys() ?? [])].map((item) => [item, this.#valuesOf(item)]));
  }

  #tableOf(values: ReadonlyMap<number, ReadonlyMap<string, AttributeValue | undefined>>): ChangedItems {
    const items = [...values.keys()];
    const columns = new Map(
      Object.entries(this.schema).map(([name, { type }]) => [
        name,
        buildColumn(
          type,
          items.map((item) => values.get(item)!.get(name)),
        ),
      ]),
    );
    return {
      rows: new Map(items.map((item, row) => [item, row])),
      table: { itemCount: items.length, columns },
    };
  }

  #reevaluated(touched: ReadonlySet<string>): ReadonlyMap<string, BoundSet> {
    const { trie, leafItems } = this.version;
    const { rows, table } = this.#changed!;
    const sets = new Map(this.sets);
    for (const [name, bound] of this.sets) {
      if (bound.truth.kind !== 'rule' || !bound.attributes.some((attribute) => touched.has(attribute)))
        continue;
      const rule = compileRule(bound.truth.rule, this.schema, bound.truth.params);
      const verdicts = evaluateRule(rule, table, bound.nowMs);
      const members = new Map<number, boolean>();
      for (const [item, row] of rows) members.set(item, isBitSet(verdicts, row));
      sets.set(name, { ...bound, set: patchSet(trie, leafItems, bound.set, members) });
    }
    return sets;
  }
}

/** For each set (or for a catalog's removals, where there is none) its last fold. */
const folds = new WeakMap<object, { set: ConstraintSet; removals: Removals; count: number }>();
