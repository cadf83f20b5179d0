import { canonicalJson, type SetSnapshot, ThreadClient } from '../../decoder/index.js';
import { type ErrorDetail, EspalierError } from '../../errors.js';
import type { RuleParams, SetTruth } from '../../static-trie/index.js';
import type { SetVersion } from '../constraint-sets/set-record.js';
import type { SetStore } from '../constraint-sets/set-store.js';
import type { CatalogRecord, CatalogStore, VersionRecord } from './catalog-store.js';
import type { CatalogHandlers, RulePreview, SetTask, VersionTask } from './catalog-worker.js';
import type { ChangeLogs } from './change-logs.js';
import type { ItemView } from './item-view.js';
import type { VersionFile } from './opened-snapshots.js';
import type { VerifyHandlers } from './verify-worker.js';

/** A set's bitmaps for one catalog version, and the time that `now` stood for. */
export interface TimedSnapshot extends SetSnapshot {
  evaluatedAt: string;
  /** Of a list's ids or SIDs, how many the version does not have; and the first of them. */
  unknownCount: number;
  unknown: readonly string[];
}

/** A set's version that is to be in force. */
export interface SetInForce {
  name: string;
  version: SetVersion;
  evaluatedAt: string;
}

/** Fewer are read sooner than another thread has started: some 0.2 s. */
const VERIFY_APART_FROM_ITEMS = 500_000;

/** Evaluates rules over catalog versions, on a thread of its own, and verifies large ones on another. */
export class SetEvaluator {
  readonly #store: CatalogStore;
  readonly #sets: SetStore;
  readonly #changes: ChangeLogs;
  readonly #thread: ThreadClient<CatalogHandlers>;
  readonly #onThreadFailure: (error: EspalierError) => void;
  readonly #verifyApartFromItems: number;
  /** Started with the first large version. */
  #verifier: ThreadClient<VerifyHandlers> | undefined;

  constructor(
    store: CatalogStore,
    sets: SetStore,
    changes: ChangeLogs,
    onThreadFailure: (error: EspalierError) => void,
    verifyApartFromItems = VERIFY_APART_FROM_ITEMS,
  ) {
    this.#store = store;
    this.#sets = sets;
    this.#changes = changes;
    this.#onThreadFailure = onThreadFailure;
    this.#verifyApartFromItems = verifyApartFromItems;
    this.#thread = new ThreadClient(
      new URL('./catalog-worker.js', import.meta.url),
      undefined,
      onThreadFailure,
    );
  }

  /** Checks a rule against a catalog's attributes. @throws EspalierError ESP_RULE_… */
  async check({ attributes }: CatalogRecord, rule: string, params: RuleParams): Promise<void> {
    await this.#thread.call('checkRule', rule, attributes, params);
  }

  /**
   * Reads a catalog version's file as a whole, before the decode engine opens it without reading it.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT where it is damaged, or not the file that the record is of
   */
  async verify(catalog: CatalogRecord, version: VersionRecord): Promise<void> {
    const file = this.#fileOf(catalog.name, version);
    if (version.items < this.#verifyApartFromItems) return this.#thread.call('verify', file);
    const task = this.#versionTask(catalog, version);
    const script = new URL('./verify-worker.js', import.meta.url);
    this.#verifier ??= new ThreadClient(script, undefined, this.#onThreadFailure);
    try {
      await this.#verifier.call('verify', file);
    } catch (thrown) {
      await this.#thread.call('setVerified', task, false);
      throw thrown;
    }
    await this.#thread.call('setVerified', task, true);
  }

  /** @throws EspalierError ESP_RULE_…; ESP_ARTIFACT_CORRUPT where its list is damaged or gone */
  async evaluate(
    catalog: CatalogRecord,
    catalogVersion: VersionRecord,
    set: SetInForce,
  ): Promise<TimedSnapshot> {
    const { name, evaluatedAt } = set;
    const { version, refresh } = set.version;
    const task = this.#task(catalog, catalogVersion, this.#truthOf(catalog, set), evaluatedAt);
    const found = await this.#thread.call('evaluate', task);
    const expiresAtMs =
      refresh?.whenStale === 'refuse' ? Date.parse(evaluatedAt) + refresh.maxAgeSeconds * 1_000 : null;
    return { name, version, catalogVersion: catalogVersion.version, evaluatedAt, expiresAtMs, ...found };
  }

  /**
   * @param onDamaged gets the sets whose lists are damaged or gone, and what is wrong; what it does not throw is left out
   * @throws EspalierError ESP_SET_UNBOUND with every set that cannot bind.
   */
  async evaluateAll(
    catalog: CatalogRecord,
    catalogVersion: VersionRecord,
    sets: readonly SetInForce[],
    onDamaged: (set: string, error: EspalierError) => void,
  ): Promise<TimedSnapshot[]> {
    const faults: ErrorDetail[] = [];
    const snapshots: TimedSnapshot[] = [];
    /** Sets of one rule are evaluated once, and share their bitmaps on every engine, too. */
    const byRule = new Map<string, TimedSnapshot>();
    for (const set of sets) {
      const { name, version, evaluatedAt } = set;
      const { truth, refresh } = version;
      const key = canonicalJson([truth, refresh, evaluatedAt, truth.kind === 'rule' ? '' : name]);
      try {
        const snapshot = byRule.get(key) ?? (await this.evaluate(catalog, catalogVersion, set));
        byRule.set(key, snapshot);
        snapshots.push({ ...snapshot, name, version: version.version });
      } catch (thrown) {
        const { code, message } = EspalierError.from(thrown);
        if (code === 'ESP_ARTIFACT_CORRUPT' && truth.kind !== 'rule') {
          const what = `constraint set ${name} of catalog ${catalog.name} is damaged: ${message}`;
          onDamaged(name, new EspalierError(code, what, { cause: thrown }));
        } else if (!code.startsWith('ESP_RULE_')) throw thrown;
        else faults.push({ field: name, expected: 'a rule that binds to the version', found: message });
      }
    }
    if (faults.length === 0) return snapshots;
    const names = faults.map(({ field }) => field).join(', ');
    const message = `version ${catalogVersion.version} of catalog ${catalog.name} stays inactive: these sets cannot bind: ${names}`;
    throw new EspalierError('ESP_SET_UNBOUND', message, { details: faults });
  }

  preview(
    catalog: CatalogRecord,
    catalogVersion: VersionRecord,
    rule: string,
    params: RuleParams,
  ): Promise<RulePreview> {
    const truth = { kind: 'rule' as const, rule, params };
    const now = new Date().toISOString();
    return this.#thread.call('preview', this.#task(catalog, catalogVersion, truth, now));
  }

  /** @returns for each id whether the version has it, removed items not among them. */
  hasItems(catalog: CatalogRecord, version: VersionRecord, ids: readonly string[]): Promise<boolean[]> {
    return this.#thread.call('hasItems', this.#versionTask(catalog, version), ids);
  }

  /** An item, and what sets in force say of it; undefined where the version does not have it. */
  viewItem(
    catalog: CatalogRecord,
    version: VersionRecord,
    id: string,
    sets: readonly SetInForce[],
  ): Promise<ItemView | undefined> {
    const toExplain = sets.map((set) => ({
      name: set.name,
      version: set.version.version,
      truth: this.#truthOf(catalog, set),
      nowMs: Date.parse(set.evaluatedAt),
    }));
    return this.#thread.call('viewItem', this.#versionTask(catalog, version), id, toExplain);
  }

  /** Closes the files of a catalog that is gone. */
  forget(catalog: string): void {
    // A thread that has ended has none open.
    this.#thread.call('forget', catalog).catch(() => {});
  }

  async close(): Promise<void> {
    await Promise.all([this.#thread.close(), this.#verifier?.close()]);
  }

  #truthOf(
    { name: catalog }: CatalogRecord,
    { name, version: { version, truth, hash } }: SetInForce,
  ): SetTruth {
    if (truth.kind === 'rule') return truth;
    return { kind: 'list', path: this.#sets.listPath(catalog, name, version), hash };
  }

  #task(catalog: CatalogRecord, version: VersionRecord, truth: SetTruth, evaluatedAt: string): SetTask {
    return { ...this.#versionTask(catalog, version), truth, nowMs: Date.parse(evaluatedAt) };
  }

  #versionTask({ name, attributes: schema }: CatalogRecord, version: VersionRecord): VersionTask {
    return { ...this.#fileOf(name, version), schema, changes: this.#changes.after(name, version) };
  }

  #fileOf(catalog: string, { version, hash }: VersionRecord): VersionFile {
    const path = this.#store.catalogFilePath(catalog, version);
    return { catalog, path, ...(hash !== undefined && { hash }) };
  }
}
