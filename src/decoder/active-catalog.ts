import { setImmediate } from 'node:timers/promises';
import { EspalierError } from '../errors.js';
import type { Constraint } from '../kernels/index.js';
import {
  CatalogSnapshot,
  type CatalogVersion,
  ChangeReader,
  type CompiledRule,
  type ConstraintSet,
  combineSets,
  compileRule,
  constraintSetFromItems,
  type RuleParams,
  setByteLength,
} from '../static-trie/index.js';
import type { AppliedChanges, CatalogActivation, SetSnapshot } from './activation.js';
import { alignedSet } from './aligned-set.js';
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
/** Changes that are put in force in one turn, some 2 ms of work where each is of one item. */
const CHANGES_PER_TURN = 100;

/** A set with the name by which it was asked for: `set christmas`, `filter`. */
export interface NamedSet {
  name: string;
  set: ConstraintSet;
}

/** What a request's set and filter come to. */
export interface ResolvedSets {
  parts: readonly NamedSet[];
  /** What all parts allow, removed items among them; null where there is none, and every item is allowed. */
  set: ConstraintSet | null;
  /** The named set's version. */
  version: number | undefined;
  /** The filter, and what `now` stands for in it. */
  filter: { rule: CompiledRule; nowMs: number } | undefined;
}

/** Of a set, what its bitmaps do not say. */
type SetTerms = Pick<SetSnapshot, 'version' | 'expiresAtMs'>;

/** A catalog version that serves, with the changes that came since, its model and its sets. */
export class ActiveCatalog {
  readonly name: string;
  readonly version: number;
  readonly modelVersion: number;
  readonly items: CatalogVersion;
  readonly model: Model;
  #snapshot: CatalogSnapshot;
  #changes: ChangeReader | null;
  readonly #sets = new Map<string, SetTerms>();
  readonly #rules = new LruCache<CompiledRule>(MAX_COMPILED_RULES);
  readonly #filters = new LruCache(KEPT_SET_BYTES, weightOf);
  readonly #intersections = new LruCache(KEPT_SET_BYTES, weightOf);
  /** Grows when a named set is replaced or goes, or changes come. */
  #snapshots = 0;
  /** One constraint for each set, so that kernels need not look at its bitmaps for every request. */
  readonly #constraints = new WeakMap<ConstraintSet, Constraint>();
  readonly #unconstrained: Constraint;

  /**
   * Changes are in force, and sets that do not know all of them are brought there.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT on a damaged log, ESP_RULE_…
   */
  constructor(activation: CatalogActivation, items: CatalogVersion, model: Model) {
    this.name = activation.catalog;
    this.version = activation.version;
    this.modelVersion = activation.model.version;
    this.items = items;
    this.model = model;
    this.#unconstrained = { trie: items.trie, live: null, dead: null };
    const { changes, sets } = activation;
    const schema = Object.fromEntries([...items.table.columns].map(([name, { type }]) => [name, { type }]));
    this.#changes = changes && new ChangeReader(changes.path, changes.after);
    this.#snapshot = CatalogSnapshot.of(items, schema, changes?.after);
    if (changes !== null) this.applyChanges(changes.upTo);
    this.putSets(sets);
  }

  /** As it is now: a request keeps the one that it was prepared with. */
  get snapshot(): CatalogSnapshot {
    return this.#snapshot;
  }

  /** Changes whenever a set that a request got may not be found by another any more. */
  get setGeneration(): number {
    return this.#snapshots + this.#filters.departures + this.#intersections.departures;
  }

  /** The sets that a request may find: named ones, filters and intersections, as they are and without removed items. */
  *keptSets(): Generator<ConstraintSet> {
    const named = Array.from(this.#snapshot.sets.values(), ({ set }) => set);
    for (const set of [null, ...named, ...this.#filters.values(), ...this.#intersections.values()]) {
      if (set !== null) yield set;
      const folded = this.#snapshot.foldedSet(set);
      if (folded !== null) yield folded;
    }
  }

  /** @throws EspalierError ESP_INTERNAL on a snapshot of another catalog version. */
  putSets(snapshots: readonly SetSnapshot[]): void {
    for (const { name, catalogVersion } of snapshots) {
      if (catalogVersion === this.version) continue;
      const found = `set ${name} of version ${catalogVersion}`;
      throw new EspalierError(
        'ESP_INTERNAL',
        `catalog ${this.name}: expected version ${this.version}, found ${found}`,
      );
    }
    this.#snapshot = this.#snapshot.withBoundSets(
      snapshots.map((snapshot) => [snapshot.name, { ...snapshot, set: alignedSet(snapshot.set) }]),
    );
    this.#snapshots++;
    for (const { name, version, expiresAtMs } of snapshots) this.#sets.set(name, { version, expiresAtMs });
    // Some are of the sets as they were.
    this.#intersections.clear();
  }

  deleteSet(name: string): void {
    this.#snapshot = this.#snapshot.withoutSet(name);
    this.#snapshots++;
    this.#sets.delete(name);
    this.#intersections.clear();
  }

  /**
   * Reads the log on, and puts in force what it says.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT on a damaged log; then nothing has changed
   */
  applyChanges(upTo: number): AppliedChanges {
    if (this.#changes === null) {
      throw new EspalierError('ESP_INTERNAL', `catalog ${this.name} was activated without a log of changes`);
    }
    const before = this.#snapshot;
    const reader = this.#changes.copy();
    const { snapshot } = before.withChanges(reader.catchUp(upTo));
    // Only now: what was read and could not be applied is read again.
    this.#changes = reader;
    this.#snapshot = snapshot;
    this.#snapshots++;
    const sets = [...snapshot.sets].filter(([name, bound]) => before.sets.get(name) !== bound);
    // Some are of sets as they were. Removals are taken out later, and leave them as they are.
    if (sets.length > 0) this.#intersections.clear();
    return {
      sets: sets.map(([name, { set }]) => ({ name, items: set.itemCount, leaves: set.leafCount })),
      removedItems: snapshot.removedCount,
    };
  }

  /** As `applyChanges`, a few at a time, for a catalog that does not serve yet: the thread decodes between them. */
  async applyChangesInTurns(upTo: number): Promise<void> {
    while (this.#snapshot.changesUpTo < upTo) {
      this.applyChanges(Math.min(upTo, this.#snapshot.changesUpTo + CHANGES_PER_TURN));
      await setImmediate();
    }
  }

  /**
   * Set and filter of a request. Requests that ask for the same share what it comes to.
   * @throws EspalierError ESP_SET_NOT_FOUND, ESP_SET_STALE, ESP_RULE_…
   */
  resolve({ set: setName, filter, params }: QueryConstraint): ResolvedSets {
    const named = setName === undefined ? undefined : this.#set(setName);
    const parts: NamedSet[] = [];
    if (named !== undefined) parts.push({ name: `set ${setName}`, set: named.set });
    const own = filter === undefined ? undefined : this.#filter(filter, params ?? {});
    const filtered = own?.set;
    if (filtered !== undefined) parts.push({ name: 'filter', set: filtered });
    let set = parts.at(0)?.set ?? null;
    if (named !== undefined && filtered !== undefined) {
      const both = JSON.stringify([setName, own?.key]);
      set = this.#intersections.get(both, () => this.intersect(named.set, filtered));
    }
    return { parts, set, version: named?.version, filter: own };
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

  #set(name: string): { set: ConstraintSet; version: number } {
    const terms = this.#sets.get(name);
    const field = 'constraint.set';
    if (terms === undefined) {
      throw new EspalierError('ESP_SET_NOT_FOUND', `catalog ${this.name} has no constraint set ${name}`, {
        details: [{ field, expected: 'the name of a constraint set', found: name }],
      });
    }
    const { version, expiresAtMs } = terms;
    if (expiresAtMs !== null && Date.now() > expiresAtMs) {
      const since = new Date(expiresAtMs).toISOString();
      throw new EspalierError(
        'ESP_SET_STALE',
        `set ${name} of catalog ${this.name} is refused since ${since}`,
        {
          details: [{ field, expected: 'a set that was refreshed in time', found: name }],
        },
      );
    }
    return { set: this.#snapshot.sets.get(name)!.set, version };
  }

  /** The items for which a rule that came with a request is true. */
  #filter(
    rule: string,
    params: RuleParams,
  ): { key: string; set: ConstraintSet; rule: CompiledRule; nowMs: number } {
    const source = canonicalJson([rule, params]);
    const snapshot = this.#snapshot;
    const compiled = this.#rules.get(source, () => compileRule(rule, snapshot.schema, params));
    const nowMs = Math.floor(Date.now() / NOW_STEP_MS) * NOW_STEP_MS;
    // One that reads none of the attributes that got other values is found again.
    const key = JSON.stringify([
      snapshot.lastChangeOf(compiled.attributes),
      compiled.usesNow ? nowMs : null,
      source,
    ]);
    const { trie, leafItems } = this.items;
    const set = this.#filters.get(key, () =>
      constraintSetFromItems(trie, leafItems, snapshot.evaluateCompiled(compiled, nowMs)),
    );
    return { key, set, rule: compiled, nowMs };
  }
}

/** Small sets count for more than they take, so that there are not too many of them. */
function weightOf(set: ConstraintSet): number {
  return Math.max(setByteLength(set), KEPT_SET_BYTES / MAX_KEPT_SETS);
}
