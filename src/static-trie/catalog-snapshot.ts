import { clearBit, setBit } from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import type { CatalogChange } from './change-lines.js';
import { ChangedItems, type ItemValues, setValues } from './changed-items.js';
import { type AttributeSchema, type AttributeValue, jsonValueOf, valueAt } from './columns.js';
import { type ConstraintSet, constraintSetFromItems } from './constraint-set.js';
import { type ListedItems, type ListFile, selectListed } from './list-file.js';
import { patchSet } from './patch-set.js';
import { type EffectiveSet, RemovedItems } from './removed-items.js';
import { type CompiledRule, compileRule, evaluateRule, type RuleParams } from './rules/index.js';
import type { SetTruth } from './set-truth.js';

/** A rule, and what `now` stands for in it. */
export interface SetRule {
  rule: string;
  params: RuleParams;
  nowMs: number;
}

/** A set's bitmaps for a catalog version, wherever they were evaluated. */
export interface EvaluatedSet {
  /** null where changes of attributes do not touch the set: it is a list of ids or SIDs. */
  readonly rule: SetRule | null;
  /** The list that it was read from; absent where it is of a rule. */
  readonly list?: ListFile;
  /** The bitmaps know the changes up to this one. */
  readonly changesUpTo: number;
  /** Without regard to removed items. */
  readonly set: ConstraintSet;
}

/** With what of a list the version does not have. */
export interface DerivedSet extends EvaluatedSet, Omit<ListedItems, 'bits'> {}

/** A set of a snapshot. */
export interface BoundSet extends EvaluatedSet {
  readonly compiled: CompiledRule | null;
}

interface Parts {
  changesUpTo: number;
  removed: RemovedItems;
  changed: ChangedItems;
  touched: ReadonlyMap<string, number>;
  sets: ReadonlyMap<string, BoundSet>;
}

/**
 * A catalog version with the small changes made since it was built, and its sets: immutable. A request takes
 * the snapshot it began with to its end; a change makes a new one.
 */
export class CatalogSnapshot {
  readonly version: CatalogVersion;
  readonly schema: AttributeSchema;
  /** The last change that is in force. */
  readonly changesUpTo: number;
  readonly sets: ReadonlyMap<string, BoundSet>;
  readonly #removed: RemovedItems;
  readonly #changed: ChangedItems;
  /** Attribute → the last change that gave it a value. */
  readonly #touched: ReadonlyMap<string, number>;

  private constructor(version: CatalogVersion, schema: AttributeSchema, parts: Parts) {
    this.version = version;
    this.schema = schema;
    this.changesUpTo = parts.changesUpTo;
    this.sets = parts.sets;
    this.#removed = parts.removed;
    this.#changed = parts.changed;
    this.#touched = parts.touched;
  }

  /** @param after the version has the changes up to this one in it */
  static of(version: CatalogVersion, schema: AttributeSchema, after = 0): CatalogSnapshot {
    return new CatalogSnapshot(version, schema, {
      changesUpTo: after,
      removed: RemovedItems.none(),
      changed: new ChangedItems(schema),
      touched: new Map(),
      sets: new Map(),
    });
  }

  get removedCount(): number {
    return this.#removed.count;
  }

  isRemoved(item: number): boolean {
    return this.#removed.has(item);
  }

  /** Clears the bits of removed items. @param itemBits one bit an item */
  clearRemoved(itemBits: Uint32Array): void {
    this.#removed.clearFrom(itemBits);
  }

  /** Item `item`'s value as it is now, or undefined where it is missing. */
  valueOf(name: string, item: number): AttributeValue | undefined {
    const values = this.#changed.valuesOf(item);
    if (values !== undefined) return values[Object.keys(this.schema).indexOf(name)];
    const column = this.version.table.columns.get(name);
    return column && valueAt(column, item);
  }

  /** Item `item`'s value as JSON answers carry it: timestamps in ISO 8601. */
  jsonValueOf(name: string, item: number): AttributeValue | undefined {
    return jsonValueOf(this.schema[name].type, this.valueOf(name, item));
  }

  /** The last change that gave one of the attributes a value; 0 where none did since the version was built. */
  lastChangeOf(attributes: readonly string[]): number {
    return attributes.reduce((last, name) => Math.max(last, this.#touched.get(name) ?? 0), 0);
  }

  /** What a request under a set gets, or, with null, one under none. */
  effectiveSet(name: string | null): EffectiveSet {
    const bound = name === null ? undefined : this.sets.get(name);
    return this.withoutRemoved(bound?.set ?? null);
  }

  /** Takes removed items out of a set; null is the set of all items. */
  withoutRemoved(set: ConstraintSet | null): EffectiveSet {
    return this.#removed.takenOutOf(set, this.version);
  }

  /** The set that `withoutRemoved` has made of a set and gives again, if it has. */
  foldedSet(set: ConstraintSet | null): ConstraintSet | null {
    return this.#removed.foldOf(set);
  }

  /**
   * The items for which a rule is true, removed ones among them.
   * @throws EspalierError ESP_RULE_… where it does not fit the schema
   */
  evaluate(rule: string, params: RuleParams, nowMs: number): Uint32Array {
    return this.evaluateCompiled(compileRule(rule, this.schema, params), nowMs);
  }

  evaluateCompiled(rule: CompiledRule, nowMs: number): Uint32Array {
    const bits = evaluateRule(rule, this.version.table, nowMs);
    if (this.lastChangeOf(rule.attributes) === 0) return bits;
    for (const [item, isTrue] of this.#changed.verdictsOf(rule, nowMs)) {
      if (isTrue) setBit(bits, item);
      else clearBit(bits, item);
    }
    return bits;
  }

  /**
   * The items of a set, one bit each, removed ones among them.
   * @throws EspalierError ESP_RULE_… where its rule does not fit the schema; ESP_ARTIFACT_CORRUPT where its list is
   *   damaged
   */
  select(truth: SetTruth, nowMs: number): ListedItems {
    if (truth.kind === 'list') return selectListed(truth, this.version);
    return { bits: this.evaluate(truth.rule, truth.params, nowMs), unknownCount: 0, unknown: [] };
  }

  /** A set's bitmaps. @throws as `select` */
  derive(truth: SetTruth, nowMs: number): DerivedSet {
    const { trie, leafItems } = this.version;
    const { bits, ...unknown } = this.select(truth, nowMs);
    const rule = truth.kind === 'rule' ? { rule: truth.rule, params: truth.params, nowMs } : null;
    const set = constraintSetFromItems(trie, leafItems, bits);
    const list = truth.kind === 'list' ? { list: { path: truth.path, hash: truth.hash } } : {};
    return { rule, ...list, changesUpTo: this.changesUpTo, set, ...unknown };
  }

  /** @throws as `select` */
  withSet(name: string, truth: SetTruth, nowMs: number): CatalogSnapshot {
    return this.withBoundSet(name, this.derive(truth, nowMs));
  }

  /** Takes a set's bitmaps as they are, but for changes that they do not know yet. @throws as `withSet` */
  withBoundSet(name: string, set: EvaluatedSet): CatalogSnapshot {
    return this.withBoundSets([[name, set]]);
  }

  withBoundSets(evaluated: Iterable<readonly [name: string, set: EvaluatedSet]>): CatalogSnapshot {
    const sets = new Map(this.sets);
    /** Sets may share a rule. */
    const rules = new Map<SetRule, CompiledRule>();
    for (const [name, { rule, list, changesUpTo, set }] of evaluated) {
      const compiled = rule && (rules.get(rule) ?? compileRule(rule.rule, this.schema, rule.params));
      if (compiled !== null) rules.set(rule!, compiled);
      const bound = { rule, ...(list && { list }), changesUpTo, set, compiled };
      const isBehind = compiled !== null && this.lastChangeOf(compiled.attributes) > changesUpTo;
      sets.set(name, isBehind ? this.#patched(bound, this.#changed) : bound);
    }
    return this.#with({ sets });
  }

  withoutSet(name: string): CatalogSnapshot {
    const sets = new Map(this.sets);
    sets.delete(name);
    return this.#with({ sets });
  }

  /**
   * Applies changes that come after those in force; earlier ones are passed over. Sets whose rule reads an attribute
   * that got a value are evaluated again, for the items that got one. Each value must fit its attribute's type.
   * @returns ids that the catalog does not have (any more) in `unknown`
   * @throws EspalierError ESP_ATTRIBUTE_NOT_FOUND on a name that is not in the schema
   */
  withChanges(changes: readonly CatalogChange[]): { snapshot: CatalogSnapshot; unknown: string[] } {
    const removing = new Set<number>();
    const updating = new Map<number, ItemValues>();
    const touched = new Map(this.#touched);
    const unknown: string[] = [];
    let { changesUpTo } = this;
    const find = (id: string) => {
      const item = this.version.ids.find(id);
      if (item >= 0 && !this.isRemoved(item) && !removing.has(item)) return item;
      unknown.push(id);
      return undefined;
    };
    for (const { seq, remove = [], update = [] } of changes) {
      if (seq <= changesUpTo) continue;
      changesUpTo = seq;
      for (const id of remove) {
        const item = find(id);
        if (item !== undefined) removing.add(item);
      }
      for (const { id, attributes } of update) {
        const item = find(id);
        if (item === undefined) continue;
        const values = updating.get(item) ?? this.#valuesOf(item);
        updating.set(item, setValues(values, attributes, this.schema));
        for (const name of Object.keys(attributes)) touched.set(name, seq);
      }
    }
    const updated = new ChangedItems(this.schema, updating);
    const next = this.#with({
      changesUpTo,
      removed: removing.size === 0 ? this.#removed : this.#removed.with(removing),
      changed: this.#changed.with(updated),
      touched,
    });
    return { snapshot: updated.count === 0 ? next : next.#withPatchedSets(this, updated), unknown };
  }

  #with(change: Partial<Parts>): CatalogSnapshot {
    return new CatalogSnapshot(this.version, this.schema, {
      changesUpTo: this.changesUpTo,
      removed: this.#removed,
      changed: this.#changed,
      touched: this.#touched,
      sets: this.sets,
      ...change,
    });
  }

  #valuesOf(item: number): ItemValues {
    return Object.keys(this.schema).map((name) => this.valueOf(name, item));
  }

  /** Sets that knew all changes before `updated`, with those. */
  #withPatchedSets(before: CatalogSnapshot, updated: ChangedItems): CatalogSnapshot {
    const sets = new Map(before.sets);
    for (const [name, bound] of before.sets) {
      // What was evaluated elsewhere may know more changes than this snapshot.
      const known = Math.max(before.changesUpTo, bound.changesUpTo);
      if (bound.compiled === null || this.lastChangeOf(bound.compiled.attributes) <= known) continue;
      sets.set(name, this.#patched(bound, updated));
    }
    return this.#with({ sets });
  }

  /** A set evaluated again for some items; the same object where that changes nothing. */
  #patched(bound: BoundSet, items: ChangedItems): BoundSet {
    const { version } = this;
    const verdicts = items.verdictsOf(bound.compiled!, bound.rule!.nowMs);
    const set = patchSet(version.trie, version.leafItems, bound.set, verdicts);
    if (set === bound.set) return bound;
    this.#removed.carryFold(bound.set, set, verdicts, version);
    return { ...bound, set };
  }
}
