import { EspalierError } from '../errors.js';
import type { Constraint } from '../kernels/index.js';
import {
  type AttributeSchema,
  type CatalogVersion,
  type CompiledRule,
  type ConstraintSet,
  combineSets,
  compileRule,
  constraintSetFromItems,
  evaluateRule,
  type RuleParams,
  setByteLength,
} from '../static-trie/index.js';
import type { CatalogActivation, SetSnapshot } from './activation.js';
import { canonicalJson } from './canonical-json.js';
import { LruCache } from './lru-cache.js';
import type { Model } from './model.js';
import type { QueryConstraint } from './recommend-query.js';

const MAX_COMPILED_RULES = 64;
/** Filters that are kept evaluated, and intersections of them with sets: so many bytes of each, and so many. */
const KEPT_SET_BYTES = 2 ** 26;
const MAX_KEPT_SETS = 64;
/** `now` in the filter of a request stands for the last full minute, so that equal filters share one set. */
const NOW_STEP_MS = 60_000;

/** A set with the name by which it was asked for: `set christmas`, `filter`. */
export interface NamedSet {
  name: string;
  set: ConstraintSet;
}

/** What a request's set and filter come to. */
export interface ResolvedSets {
  parts: readonly NamedSet[];
  /** What all parts allow; null where there is none, and every item is allowed. */
  set: ConstraintSet | null;
  /** The named set's version. */
  version: number | undefined;
}

/** A catalog version that serves, with its model and its sets. */
export class ActiveCatalog {
  readonly name: string;
  readonly version: number;
  readonly modelVersion: number;
  readonly items: CatalogVersion;
  readonly model: Model;
  readonly #schema: AttributeSchema;
  readonly #sets = new Map<string, SetSnapshot>();
  readonly #rules = new LruCache<CompiledRule>(MAX_COMPILED_RULES);
  readonly #filters = new LruCache(KEPT_SET_BYTES, weightOf);
  readonly #intersections = new LruCache(KEPT_SET_BYTES, weightOf);
  /** One constraint for each set, so that kernels need not look at its bitmaps for every request. */
  readonly #constraints = new WeakMap<ConstraintSet, Constraint>();
  readonly #unconstrained: Constraint;

  constructor(activation: CatalogActivation, items: CatalogVersion, model: Model) {
    this.name = activation.catalog;
    this.version = activation.version;
    this.modelVersion = activation.model.version;
    this.items = items;
    this.model = model;
    this.#schema = Object.fromEntries([...items.table.columns].map(([name, { type }]) => [name, { type }]));
    this.#unconstrained = { trie: items.trie, live: null, dead: null };
    for (const snapshot of activation.sets) this.putSet(snapshot);
  }

  /** @throws EspalierError ESP_INTERNAL on a snapshot of another catalog version. */
  putSet(snapshot: SetSnapshot): void {
    if (snapshot.catalogVersion !== this.version) {
      const found = `set ${snapshot.name} of version ${snapshot.catalogVersion}`;
      throw new EspalierError(
        'ESP_INTERNAL',
        `catalog ${this.name}: expected version ${this.version}, found ${found}`,
      );
    }
    this.#sets.set(snapshot.name, snapshot);
    // Some are of the set as it was.
    this.#intersections.clear();
  }

  /**
   * Set and filter of a request. Requests that ask for the same share what it comes to.
   * @throws EspalierError ESP_SET_NOT_FOUND, ESP_RULE_…
   */
  resolve({ set: setName, filter, params }: QueryConstraint): ResolvedSets {
    const snapshot = setName === undefined ? undefined : this.#set(setName);
    const parts: NamedSet[] = [];
    if (snapshot !== undefined) parts.push({ name: `set ${snapshot.name}`, set: snapshot.set });
    const { key, set: filtered } = filter === undefined ? {} : this.#filter(filter, params ?? {});
    if (filtered !== undefined) parts.push({ name: 'filter', set: filtered });
    let set = parts.at(0)?.set ?? null;
    if (snapshot !== undefined && filtered !== undefined) {
      const both = JSON.stringify([snapshot.name, key]);
      set = this.#intersections.get(both, () => this.intersect(snapshot.set, filtered));
    }
    return { parts, set, version: snapshot?.version };
  }

  intersect(a: ConstraintSet, b: ConstraintSet): ConstraintSet {
    return combineSets('and', this.items.trie, this.items.leafItems, a, b);
  }

  /** What the kernels get for a set; the same object every time. */
  constraintOf(set: ConstraintSet | null): Constraint {
    if (set === null) return this.#unconstrained;
    let constraint = this.#constraints.get(set);
    if (constraint === undefined) {
      constraint = { trie: this.items.trie, live: set.live, dead: null };
      this.#constraints.set(set, constraint);
    }
    return constraint;
  }

  /** Item numbers of the ids that the catalog has; the others go to `unknown`. */
  numbersOf(ids: readonly string[], unknown: Set<string>): number[] {
    const numbers: number[] = [];
    for (const id of ids) {
      const number = this.items.ids.find(id);
      if (number === -1) unknown.add(id);
      else numbers.push(number);
    }
    return numbers;
  }

  #set(name: string): SetSnapshot {
    const snapshot = this.#sets.get(name);
    if (snapshot !== undefined) return snapshot;
    throw new EspalierError('ESP_SET_NOT_FOUND', `catalog ${this.name} has no constraint set ${name}`, {
      details: [{ field: 'constraint.set', expected: 'the name of a constraint set', found: name }],
    });
  }

  /** The items for which a rule that came with a request is true. */
  #filter(rule: string, params: RuleParams): { key: string; set: ConstraintSet } {
    const source = canonicalJson([rule, params]);
    const compiled = this.#rules.get(source, () => compileRule(rule, this.#schema, params));
    const nowMs = Math.floor(Date.now() / NOW_STEP_MS) * NOW_STEP_MS;
    const key = compiled.usesNow ? `${nowMs} ${source}` : source;
    const { trie, leafItems, table } = this.items;
    const set = this.#filters.get(key, () =>
      constraintSetFromItems(trie, leafItems, evaluateRule(compiled, table, nowMs)),
    );
    return { key, set };
  }
}

/** Small sets count for more than they take, so that there are not too many of them. */
function weightOf(set: ConstraintSet): number {
  return Math.max(setByteLength(set), KEPT_SET_BYTES / MAX_KEPT_SETS);
}
