import type { EngineClient } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { RuleParams } from '../../static-trie/index.js';
import type { Activator, SetEvaluation } from '../catalogs/activator.js';
import type { CatalogRecords } from '../catalogs/catalog-records.js';
import type { CatalogRecord } from '../catalogs/catalog-store.js';
import type { RulePreview } from '../catalogs/catalog-worker.js';
import type { SetEvaluator } from '../catalogs/set-evaluator.js';
import { type ChangeRequest, checkPrecondition, etagOf } from '../change-request.js';
import type { SetFreshness } from '../metrics/index.js';
import { type Alias, type AliasAction, type Aliases, refuseAliased } from './aliases.js';
import {
  activeVersionOf,
  findSetVersion,
  hashOfRule,
  newSet,
  prunedSet,
  type RefreshPolicy,
  rolledBackSet,
  type SetRecord,
  type SetVersion,
  wasInForce,
  withActiveVersion,
  withVersion,
} from './set-record.js';
import { SetRefresher } from './set-refresher.js';
import type { SetStore } from './set-store.js';

export interface RuleDefinition {
  rule: string;
  params: RuleParams;
  refresh: RefreshPolicy | null;
}

/** A set's versions, and what the one in force came to where a catalog version is active. */
export interface EvaluatedSet extends SetRecord {
  evaluation: SetEvaluation | null;
  /** The evaluation is older than it may become. */
  isStale: boolean;
  /** The last failure of its refresh since the last success. */
  refreshFailure: { at: string; error: EspalierError } | null;
}

export interface SetServiceDeps {
  sets: SetStore;
  aliases: Aliases;
  records: CatalogRecords;
  activator: Activator;
  evaluator: SetEvaluator;
  engine: EngineClient;
  /** Versions of a set that are kept. */
  keepVersions: number;
  /** A refresh has succeeded, or failed. */
  onRefresh: (error: EspalierError | null, catalog: string, set: string) => void;
}

/**
 * Changes constraint sets and their aliases. What can fail comes first, then the truth goes to disk, then the
 * engine switches: what was in force serves until then.
 */
export class SetService {
  readonly aliases: Aliases;
  readonly #deps: SetServiceDeps;
  readonly #refresher: SetRefresher;

  constructor(deps: SetServiceDeps) {
    this.#deps = deps;
    this.aliases = deps.aliases;
    this.#refresher = new SetRefresher({
      scheduleOf: (catalog, set) => this.#scheduleOf(catalog, set),
      refresh: (catalog, set) => this.#refresh(catalog, set),
      onEnd: deps.onRefresh,
    });
  }

  /** To be called when a set was evaluated: its next refresh goes by that. */
  scheduleRefresh(catalog: string, set: string): void {
    this.#refresher.schedule(catalog, set);
  }

  close(): void {
    this.#refresher.close();
  }

  list(catalog: string): EvaluatedSet[] {
    this.#deps.records.get(catalog);
    return this.#deps.sets.list(catalog).map((set) => this.#withEvaluation(catalog, set));
  }

  /** Sets that cannot be used, since their records or their lists are damaged. */
  damaged(catalog: string): ReadonlyMap<string, EspalierError> {
    const { sets, activator } = this.#deps;
    return new Map([...sets.damaged(catalog), ...activator.unusable(catalog)]);
  }

  /** By name or alias. @throws EspalierError ESP_SET_NOT_FOUND, ESP_ARTIFACT_CORRUPT */
  get(catalog: string, name: string): EvaluatedSet {
    this.#deps.records.get(catalog);
    return this.#withEvaluation(catalog, this.#find(catalog, this.#resolve(catalog, name)));
  }

  /**
   * The set that a request means by a name or an alias; there may be none.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT where that cannot be told, or the set is damaged
   */
  resolve(catalog: string, name: string): string {
    const set = this.#resolve(catalog, name);
    const damage = this.#deps.activator.unusable(catalog).get(set);
    if (damage !== undefined) throw damage;
    return set;
  }

  #resolve(catalog: string, name: string): string {
    const set = this.aliases.resolve(catalog, name);
    if (this.#deps.sets.get(catalog, set) === undefined) this.aliases.check();
    return set;
  }

  /** Evaluates a rule and makes it the set's next version, in force when it returns. */
  put(
    catalog: string,
    name: string,
    { rule, params, refresh }: RuleDefinition,
    change: ChangeRequest,
  ): Promise<{ record: EvaluatedSet; created: boolean }> {
    return this.#change(catalog, name, change, async (catalogRecord, existing) => {
      const createdAt = new Date().toISOString();
      if (catalogRecord.active === null) await this.#deps.evaluator.check(catalogRecord, rule, params);
      const before = existing ?? this.#newSet(catalog, name, createdAt);
      const version: SetVersion = {
        version: before.lastVersion + 1,
        truth: { kind: 'rule', rule, params },
        refresh,
        hash: hashOfRule(rule, params),
        createdAt,
        createdBy: change.by,
      };
      const record = withActiveVersion(withVersion(before, version), version.version, createdAt);
      return {
        record: await this.#putInForce(catalogRecord, record),
        created: existing === undefined,
      };
    });
  }

  /** @throws EspalierError ESP_SET_NOT_FOUND, ESP_VERSION_NOT_FOUND, ESP_RULE_… */
  activate(catalog: string, name: string, version: number, change: ChangeRequest): Promise<EvaluatedSet> {
    return this.#change(catalog, name, change, (catalogRecord) =>
      this.#activate(catalogRecord, this.#find(catalog, name), version),
    );
  }

  #activate(catalogRecord: CatalogRecord, record: SetRecord, version: number): Promise<EvaluatedSet> {
    findSetVersion(record, version);
    return this.#putInForce(catalogRecord, withActiveVersion(record, version, new Date().toISOString()));
  }

  /**
   * Brings back the version that was in force before, or `version`.
   * @throws EspalierError ESP_ROLLBACK_UNAVAILABLE, ESP_VERSION_NOT_FOUND
   */
  rollback(
    catalog: string,
    name: string,
    version: number | undefined,
    change: ChangeRequest,
  ): Promise<EvaluatedSet> {
    return this.#change(catalog, name, change, (catalogRecord) => {
      const before = this.#find(catalog, name);
      if (version !== undefined) findSetVersion(before, version);
      const record = rolledBackSet(before, version, new Date().toISOString());
      return this.#putInForce(catalogRecord, record);
    });
  }

  /**
   * Requests under it are refused from now on. A damaged one goes as well, unless a precondition asks what it is.
   * @throws EspalierError ESP_SET_NOT_FOUND, ESP_SET_IN_USE
   */
  delete(catalog: string, name: string, change: ChangeRequest): Promise<void> {
    const { records, sets, engine, activator } = this.#deps;
    return records.mutex.run(catalog, async () => {
      records.get(catalog);
      const isDamaged = sets.damaged(catalog).has(name);
      const existing = isDamaged ? undefined : sets.get(catalog, name);
      checkPrecondition(change, existing === undefined ? null : setEtag(existing));
      const record = isDamaged ? { name, versions: [] } : this.#find(catalog, name);
      refuseAliased(this.aliases.namesOf(catalog, name), `constraint set ${name}`);
      sets.delete(catalog, record);
      activator.forget(catalog, name);
      if (activator.isServing(catalog)) await engine.deleteSet(catalog, name);
    });
  }

  /** What a rule would allow, without changing anything. */
  async preview(catalog: string, rule: string, params: RuleParams): Promise<RulePreview> {
    const { records, evaluator } = this.#deps;
    const record = records.get(catalog);
    const version = records.activeVersion(record);
    if (version === undefined) {
      throw new EspalierError('ESP_CATALOG_INACTIVE', `catalog ${catalog} has no active version`);
    }
    return evaluator.preview(record, version, rule, params);
  }

  /** Applies all actions or none. @throws EspalierError ESP_ALIAS_NOT_FOUND, ESP_ALIAS_CONFLICT, ESP_SET_NOT_FOUND */
  changeAliases(actions: readonly AliasAction[], change: ChangeRequest): Alias[] {
    this.aliases.apply(actions, change, ({ alias, catalog, constraintSet }) => {
      this.#deps.records.get(catalog);
      // One whose first list is still being read may come to nothing.
      if (this.#find(catalog, constraintSet).versions.length === 0)
        throw this.#notFound(catalog, constraintSet);
      if (this.#deps.sets.get(catalog, alias) === undefined) return;
      throw nameConflict(catalog, alias, 'a constraint set');
    });
    return this.aliases.list();
  }

  /**
   * The set that a job began with.
   * @param id of its record then
   * @throws EspalierError ESP_SET_NOT_FOUND, also where another has its name by now; ESP_ARTIFACT_CORRUPT
   */
  same(catalog: string, name: string, id: string | undefined): SetRecord {
    const record = this.#find(catalog, name);
    if (record.id === id) return record;
    const message = `constraint set ${name} was deleted meanwhile; the one that has its name now is another`;
    throw new EspalierError('ESP_SET_NOT_FOUND', message);
  }

  /**
   * Adds a version that is not in force.
   * @param path where its list was written, for `SetStore.newListPath`
   * @throws EspalierError as `same`
   */
  addList(
    catalog: string,
    name: string,
    id: string | undefined,
    version: SetVersion,
    path: string,
  ): Promise<void> {
    const { records, sets } = this.#deps;
    return records.mutex.run(catalog, async () => {
      const record = this.same(catalog, name, id);
      if (record.versions.some((one) => one.version === version.version)) return;
      sets.takeList(path, catalog, name, version.version);
      this.#save(catalog, withVersion(record, version));
    });
  }

  /**
   * What a build does last; after a kill a second time, and then it must not bring back what was left since.
   * @throws EspalierError as `same` and `activate`
   */
  async activateBuilt(
    catalog: string,
    name: string,
    id: string | undefined,
    version: number,
    by: string | null,
  ): Promise<void> {
    await this.#change(catalog, name, { by }, async (catalogRecord) => {
      const record = this.same(catalog, name, id);
      if (wasInForce(record, version)) return;
      await this.#activate(catalogRecord, record, version);
    });
  }

  /** The next version's number, which no other of the set gets, and the set's id; makes the set where it is new. */
  reserveVersion(
    catalog: string,
    name: string,
    change: ChangeRequest,
  ): Promise<{ version: number; id: string | undefined }> {
    return this.#change(catalog, name, change, async (_, existing) => {
      const record = existing ?? this.#newSet(catalog, name, new Date().toISOString());
      const version = record.lastVersion + 1;
      this.#deps.sets.put(catalog, { ...record, lastVersion: version });
      return { version, id: record.id };
    });
  }

  /** Forgets a version that came to nothing, and the set with it where it was to be its first. */
  async abandonVersion(
    catalog: string,
    name: string,
    id: string | undefined,
    version: number,
  ): Promise<void> {
    const { sets, records } = this.#deps;
    await records.mutex.run(catalog, async () => {
      if (sets.damaged(catalog).has(name)) return;
      const record = records.find(catalog) && sets.get(catalog, name);
      if (record === undefined || record.id !== id) return;
      if (record.versions.some((one) => one.version === version)) return;
      sets.deleteList(catalog, name, version);
      if (record.versions.length === 0 && record.lastVersion === version) sets.delete(catalog, record);
    });
  }

  /** For each catalog. */
  freshness(): SetFreshness[] {
    return this.#deps.records.list().map(({ name: catalog }) => {
      const sets = this.list(catalog);
      const failing = this.damaged(catalog).size;
      const unreadable = this.#deps.sets.damaged(catalog).size;
      const times = sets.flatMap((set) =>
        activeVersionOf(set)?.refresh == null || set.evaluation === null
          ? []
          : [Date.parse(set.evaluation.evaluatedAt)],
      );
      return {
        catalog,
        sets: sets.length + unreadable,
        failing: sets.filter(({ refreshFailure }) => refreshFailure !== null).length + failing,
        stale: sets.filter(({ isStale }) => isStale).length,
        oldestAgeSeconds: times.length === 0 ? 0 : (Date.now() - Math.min(...times)) / 1_000,
        bytes: sets.reduce((sum, { evaluation }) => sum + (evaluation?.bytes ?? 0), 0),
        items: sets.reduce((sum, { evaluation }) => sum + (evaluation?.items ?? 0), 0),
      };
    });
  }

  #change<Result>(
    catalog: string,
    name: string,
    change: ChangeRequest,
    task: (record: CatalogRecord, existing: SetRecord | undefined) => Promise<Result>,
  ): Promise<Result> {
    const { records, sets } = this.#deps;
    return records.mutex.run(catalog, () => {
      const record = records.get(catalog);
      const existing = sets.get(catalog, name);
      checkPrecondition(change, existing === undefined ? null : setEtag(existing));
      return task(record, existing);
    });
  }

  /** Evaluates a set again, at the time that it is now. */
  #refresh(catalog: string, name: string): Promise<void> {
    const { records, activator, evaluator, engine } = this.#deps;
    return records.mutex.run(catalog, async () => {
      const catalogRecord = records.get(catalog);
      const record = this.#deps.sets.get(catalog, name);
      const version = record && activeVersionOf(record);
      if (catalogRecord.active === null || version === undefined || !activator.isServing(catalog)) return;
      const at = new Date().toISOString();
      const set = { name, version, evaluatedAt: at };
      const snapshot = await evaluator.evaluate(catalogRecord, records.activeVersion(catalogRecord)!, set);
      await engine.putSet(catalog, snapshot);
      activator.remember(catalog, snapshot);
    });
  }

  #scheduleOf(catalog: string, name: string): { evaluatedAtMs: number; refreshMs: number } | null {
    const record = this.#deps.sets.get(catalog, name);
    const refresh = record && activeVersionOf(record)?.refresh;
    const evaluation = this.#deps.activator.evaluation(catalog, name);
    if (refresh == null || evaluation === null) return null;
    return { evaluatedAtMs: Date.parse(evaluation.evaluatedAt), refreshMs: refresh.refreshSeconds * 1_000 };
  }

  #newSet(catalog: string, name: string, createdAt: string): SetRecord {
    this.#checkName(catalog, name);
    return newSet(name, createdAt);
  }

  /** @throws EspalierError ESP_ALIAS_CONFLICT where an alias has the name */
  #checkName(catalog: string, name: string): void {
    if (this.aliases.has(catalog, name)) throw nameConflict(catalog, name, 'an alias');
  }

  /** Evaluates what a record has in force, writes the record, and has the engine follow. */
  async #putInForce(catalog: CatalogRecord, record: SetRecord): Promise<EvaluatedSet> {
    const { records, activator, evaluator, engine } = this.#deps;
    const version = activeVersionOf(record)!;
    const activeVersion = records.activeVersion(catalog);
    if (activeVersion === undefined) {
      // Nothing to evaluate it on yet; the first activation does.
      return this.#withEvaluation(catalog.name, this.#save(catalog.name, record));
    }
    const set = { name: record.name, version, evaluatedAt: record.activatedAt! };
    const snapshot = await evaluator.evaluate(catalog, activeVersion, set);
    const saved = this.#save(catalog.name, record);
    if (activator.isServing(catalog.name)) await engine.putSet(catalog.name, snapshot);
    activator.remember(catalog.name, snapshot);
    return this.#withEvaluation(catalog.name, saved);
  }

  /** Writes a record with the versions that are kept; the lists of the others go. */
  #save(catalog: string, record: SetRecord): SetRecord {
    const { sets, keepVersions } = this.#deps;
    // Aliases may have changed while the set was evaluated.
    if (sets.get(catalog, record.name) === undefined) this.#checkName(catalog, record.name);
    const { record: kept, dropped } = prunedSet(record, keepVersions);
    sets.put(catalog, kept);
    for (const version of dropped) sets.deleteList(catalog, record.name, version);
    return kept;
  }

  #find(catalog: string, name: string): SetRecord {
    const record = this.#deps.sets.get(catalog, name);
    if (record !== undefined) return record;
    throw this.#notFound(catalog, name);
  }

  #notFound(catalog: string, name: string): EspalierError {
    const names = this.#deps.sets.list(catalog).map((set) => set.name);
    const found = names.length > 20 ? `${names.slice(0, 20).join(', ')}, …` : names.join(', ') || 'none';
    const message = `catalog ${catalog} has no constraint set ${name}; it has: ${found}`;
    return new EspalierError('ESP_SET_NOT_FOUND', message);
  }

  #withEvaluation(catalog: string, set: SetRecord): EvaluatedSet {
    const evaluation = this.#deps.activator.evaluation(catalog, set.name);
    const refresh = activeVersionOf(set)?.refresh;
    const ageMs = evaluation === null ? 0 : Date.now() - Date.parse(evaluation.evaluatedAt);
    return {
      ...set,
      evaluation,
      isStale: refresh != null && ageMs > refresh.maxAgeSeconds * 1_000,
      refreshFailure: this.#refresher.state(catalog, set.name).failure,
    };
  }
}

/** Of the record alone: a refresh changes nothing that somebody could overwrite. */
export function setEtag({ name, active, activatedAt, earlier, lastVersion, createdAt }: SetRecord): string {
  return etagOf({ name, active, activatedAt, earlier, lastVersion, createdAt });
}

function nameConflict(catalog: string, name: string, other: string): EspalierError {
  const message = `catalog ${catalog} has ${other} called ${name} already`;
  return new EspalierError('ESP_ALIAS_CONFLICT', message, {
    details: [{ field: 'alias', expected: `a name that ${other} does not have`, found: name }],
  });
}
