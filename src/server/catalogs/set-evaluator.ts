import { canonicalJson, type SetSnapshot, ThreadClient } from '../../decoder/index.js';
import { type ErrorDetail, EspalierError } from '../../errors.js';
import type { RuleParams } from '../../static-trie/index.js';
import type { CatalogRecord, CatalogStore, SetRecord } from './catalog-store.js';
import type { CatalogHandlers, RulePreview, RuleTask } from './catalog-worker.js';

/** A set's bitmaps for one catalog version, and the time that `now` stood for. */
export interface TimedSnapshot extends SetSnapshot {
  evaluatedAt: string;
}

type Rule = Pick<SetRecord, 'rule' | 'params'>;

/** Evaluates rules over catalog versions, on a thread of its own. */
export class SetEvaluator {
  readonly #store: CatalogStore;
  readonly #thread: ThreadClient<CatalogHandlers>;

  constructor(store: CatalogStore, onThreadFailure: (error: EspalierError) => void) {
    this.#store = store;
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
   * @throws EspalierError ESP_ARTIFACT_CORRUPT
   */
  async verify({ name }: CatalogRecord, catalogVersion: number): Promise<void> {
    await this.#thread.call('verify', this.#store.catalogFilePath(name, catalogVersion));
  }

  /** @throws EspalierError ESP_RULE_… */
  async evaluate(
    catalog: CatalogRecord,
    catalogVersion: number,
    record: SetRecord,
    evaluatedAt: string,
  ): Promise<TimedSnapshot> {
    const task = this.#task(catalog, catalogVersion, record, evaluatedAt);
    const set = await this.#thread.call('evaluate', task);
    const { name, version, params } = record;
    const rule = { rule: record.rule, params, nowMs: task.nowMs };
    return { name, version, catalogVersion, rule, changesUpTo: 0, set, expiresAtMs: null, evaluatedAt };
  }

  /** @throws EspalierError ESP_SET_UNBOUND with every set that cannot bind. */
  async evaluateAll(
    catalog: CatalogRecord,
    catalogVersion: number,
    sets: readonly SetRecord[],
    evaluatedAtOf: (set: SetRecord) => string,
  ): Promise<TimedSnapshot[]> {
    const faults: ErrorDetail[] = [];
    const snapshots: TimedSnapshot[] = [];
    /** Sets of one rule are evaluated once, and share their bitmaps on every engine, too. */
    const byRule = new Map<string, TimedSnapshot>();
    for (const record of sets) {
      const { name, version, rule, params } = record;
      const evaluatedAt = evaluatedAtOf(record);
      const key = canonicalJson([rule, params, evaluatedAt]);
      try {
        const like = byRule.get(key);
        const snapshot = like ?? (await this.evaluate(catalog, catalogVersion, record, evaluatedAt));
        byRule.set(key, snapshot);
        snapshots.push({ ...snapshot, name, version });
      } catch (thrown) {
        const { code, message } = EspalierError.from(thrown);
        if (!code.startsWith('ESP_RULE_')) throw thrown;
        faults.push({ field: record.name, expected: 'a rule that binds to the version', found: message });
      }
    }
    if (faults.length === 0) return snapshots;
    const names = faults.map(({ field }) => field).join(', ');
    const message = `version ${catalogVersion} of catalog ${catalog.name} stays inactive: these sets cannot bind: ${names}`;
    throw new EspalierError('ESP_SET_UNBOUND', message, { details: faults });
  }

  preview(catalog: CatalogRecord, catalogVersion: number, rule: Rule): Promise<RulePreview> {
    return this.#thread.call('preview', this.#task(catalog, catalogVersion, rule, new Date().toISOString()));
  }

  close(): Promise<void> {
    return this.#thread.close();
  }

  #task(catalog: CatalogRecord, version: number, { rule, params }: Rule, evaluatedAt: string): RuleTask {
    const path = this.#store.catalogFilePath(catalog.name, version);
    return { path, schema: catalog.attributes, rule, params, nowMs: Date.parse(evaluatedAt) };
  }
}
