import { EspalierError } from '../errors.js';
import {
  type AttributeSchema,
  type CatalogVersion,
  type ConstraintSet,
  compileRule,
  constraintSetFromItems,
  evaluateRule,
  type RuleParams,
} from '../static-trie/index.js';
import type { CatalogActivation, SetSnapshot } from './activation.js';
import type { Model } from './model.js';

const MAX_CACHED_FILTERS = 64;

/** A catalog version that serves, with its model and its sets. */
export class ActiveCatalog {
  readonly name: string;
  readonly version: number;
  readonly modelVersion: number;
  readonly items: CatalogVersion;
  readonly model: Model;
  readonly #schema: AttributeSchema;
  readonly #sets = new Map<string, SetSnapshot>();
  /** Request filters that don't depend on the time, least recently used first. */
  readonly #filters = new Map<string, ConstraintSet>();

  constructor(activation: CatalogActivation, items: CatalogVersion, model: Model) {
    this.name = activation.catalog;
    this.version = activation.version;
    this.modelVersion = activation.model.version;
    this.items = items;
    this.model = model;
    this.#schema = Object.fromEntries([...items.table.columns].map(([name, { type }]) => [name, { type }]));
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
  }

  set(name: string): SetSnapshot {
    const snapshot = this.#sets.get(name);
    if (snapshot !== undefined) return snapshot;
    throw new EspalierError('ESP_SET_NOT_FOUND', `catalog ${this.name} has no constraint set ${name}`, {
      details: [{ field: 'constraint.set', expected: 'the name of a constraint set', found: name }],
    });
  }

  /** The items for which a rule that came with a request is true now. */
  filter(rule: string, params: RuleParams): ConstraintSet {
    const key = JSON.stringify([rule, params]);
    const cached = this.#filters.get(key);
    if (cached !== undefined) {
      this.#filters.delete(key);
      this.#filters.set(key, cached);
      return cached;
    }
    const compiled = compileRule(rule, this.#schema, params);
    const { trie, leafItems, table } = this.items;
    const set = constraintSetFromItems(trie, leafItems, evaluateRule(compiled, table, Date.now()));
    if (!compiled.usesNow) this.#remember(key, set);
    return set;
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

  #remember(key: string, set: ConstraintSet): void {
    this.#filters.set(key, set);
    if (this.#filters.size > MAX_CACHED_FILTERS) this.#filters.delete(this.#filters.keys().next().value!);
  }
}
