import { randomUUID } from 'node:crypto';
import { EspalierError } from '../../errors.js';
import { writeDurably } from '../../static-trie/index.js';
import type { Job, JobRecord } from '../jobs/job-store.js';
import type { Jobs } from '../jobs/jobs.js';
import type { Payload, WorkResult } from '../jobs/work-queue.js';
import type { BuildCounts, RebuildInput } from './build-worker.js';
import type { CatalogRecords } from './catalog-records.js';
import type { VersionInPlace } from './catalog-service.js';
import type { CatalogStore } from './catalog-store.js';
import type { ChangeLogs } from './change-logs.js';
import { wasActive } from './serving-pairs.js';
import type { BuiltVersion } from './version-builds.js';

export interface ChangeBuildsDeps {
  store: CatalogStore;
  records: CatalogRecords;
  changes: ChangeLogs;
  jobs: Jobs;
  /** @returns false where another version than `base` is active by then. */
  activate: (built: BuiltVersion, base: number, inPlace: VersionInPlace) => Promise<boolean>;
}

/** A `catalog-changes` job's payload. */
interface ChangesPayload extends BuiltVersion {
  /** The file of the new items. */
  adds: string;
  /**
   * The last small change before the new items, or that came with them; those after it apply to them, too. Absent of
   * jobs that an earlier server accepted.
   */
  changesAfter?: number;
  /** The small change that came with them: all of that request is in force, or nothing of it. */
  withChange?: number;
}

/** What the job is prepared with when its turn has come. */
interface PreparedPayload extends RebuildInput {
  baseVersion: number;
}

/** Catalog versions from the active one, its small changes, and new items: the `catalog-changes` jobs. */
export class ChangeBuilds {
  readonly #deps: ChangeBuildsDeps;
  /** By job, what those that are prepared build from. */
  readonly #bases = new Map<string, { catalog: string; version: number }>();

  constructor(deps: ChangeBuildsDeps) {
    this.#deps = deps;
    deps.jobs.define('catalog-changes', {
      isAccepted: (job) => this.#isAccepted(payloadOf(job)),
      findResult: (job) => this.#findActivated(payloadOf(job)),
      prepare: (job) => this.#prepare(job.id, payloadOf(job)),
      finish: async (job, result, onProgress, payload) => {
        const prepared = payload as unknown as PreparedPayload | undefined;
        const finished = await this.#finish(payloadOf(job), prepared, result, onProgress);
        this.#bases.delete(job.id);
        return finished;
      },
      discard: (job) => {
        this.#bases.delete(job.id);
        this.#discard(payloadOf(job));
      },
    });
  }

  /**
   * @param add items that were checked
   * @param hasChange whether the caller is about to append a small change to the log; a server that is killed before
   *   does not go on with the job
   */
  async start(
    catalog: string,
    add: readonly unknown[],
    hasChange: boolean,
    by: string | null,
  ): Promise<{ job: Job; version: number }> {
    const { store, records, jobs, changes } = this.#deps;
    jobs.checkAvailable();
    const path = store.uploadPath(randomUUID());
    writeDurably(path, [JSON.stringify(add)]);
    const version = store.reserveVersion(catalog);
    const { id: catalogId } = records.get(catalog);
    const changesAfter = changes.of(catalog).lastSeq + (hasChange ? 1 : 0);
    const addsPath = store.relativePath(path);
    const payload: ChangesPayload = { catalog, catalogId, version, by, adds: addsPath, changesAfter };
    if (hasChange) payload.withChange = changesAfter;
    const job = await jobs.submit({
      kind: 'catalog-changes',
      payload: { ...payload },
      files: [payload.adds],
      catalog,
      version,
    });
    return { job, version };
  }

  /** Versions of a catalog that others are being built from: they must stay until those are done. */
  basesOf(catalog: string): number[] {
    const bases = [...this.#bases.values()].filter((base) => base.catalog === catalog);
    return bases.map(({ version }) => version);
  }

  /** Takes a job back that was just started: it waits for whoever calls this. */
  cancel({ id }: Job): void {
    this.#deps.jobs.cancel(id);
  }

  #isAccepted({ catalog, withChange = 0 }: ChangesPayload): boolean {
    const { records, changes } = this.#deps;
    // Of a catalog or a log that cannot be read, nobody can tell: the job then says so itself.
    if (withChange === 0 || records.damaged.has(catalog)) return true;
    try {
      return changes.of(catalog).lastSeq >= withChange;
    } catch (thrown) {
      if (EspalierError.from(thrown).code === 'ESP_ARTIFACT_CORRUPT') return true;
      throw thrown;
    }
  }

  /** Changes up to here are the version's own; later ones are applied to it as to any other. */
  async #prepare(
    id: string,
    { catalog, catalogId, version, adds, changesAfter }: ChangesPayload,
  ): Promise<Payload> {
    const { store, records, changes } = this.#deps;
    return records.mutex.run(catalog, async () => {
      const record = records.same(catalog, catalogId);
      const base = records.version(record, record.active!.version);
      const log = changes.after(catalog, base);
      this.#bases.set(id, { catalog, version: base.version });
      const prepared: PreparedPayload = {
        baseVersion: base.version,
        base: store.relativePath(store.catalogFilePath(catalog, base.version)),
        changes: { ...log, path: store.relativePath(log.path) },
        adds,
        ...(changesAfter !== undefined && { addedAfter: changesAfter }),
        // Of this preparation alone: work of an earlier one may still write its own.
        path: store.relativePath(`${store.catalogFilePath(catalog, version)}.${randomUUID()}.tmp`),
        schema: record.attributes,
      };
      return { ...prepared };
    });
  }

  /** After a kill: what was active once is not built again. */
  #findActivated({ catalog, catalogId, version }: ChangesPayload): WorkResult | undefined {
    const { store, records } = this.#deps;
    const isDone = wasActive(records.same(catalog, catalogId), version);
    const record = isDone ? store.findVersion(catalog, version) : undefined;
    return record && { items: record.items, leaves: record.leaves, hash: record.hash };
  }

  async #finish(
    { catalog, catalogId, version, by }: ChangesPayload,
    prepared: PreparedPayload | undefined,
    result: WorkResult,
    onProgress: (phase: string, fraction: number) => void,
  ): Promise<Record<string, unknown> | null> {
    const { store, records, activate } = this.#deps;
    const { items, leaves, hash } = result as BuildCounts;
    if (prepared === undefined) return { catalog, version, items, leaves, activated: true };
    const { baseVersion, path, changes } = prepared;
    onProgress('activating', 0);
    const put = () => {
      const { model } = records.version(records.get(catalog), baseVersion);
      store.takeCatalogFile(path, catalog, version);
      const created = { createdAt: new Date().toISOString(), createdBy: by };
      const changesAfter = changes.upTo;
      store.putVersion(catalog, { version, model, items, leaves, hash, changesAfter, ...created });
    };
    // A version that was built but could not be activated is of no use: its items are another's.
    const remove = () => store.clearVersion(catalog, version);
    const isDone = await activate({ catalog, catalogId, version, by }, baseVersion, { put, remove });
    return isDone ? { catalog, version, items, leaves, activated: true } : null;
  }

  /** What the work has left; a version that is in place is another's to remove. */
  #discard({ catalog, catalogId, version }: ChangesPayload): void {
    const { store, records } = this.#deps;
    if (records.find(catalog)?.id !== catalogId) return;
    if (store.findVersion(catalog, version) === undefined) store.clearVersion(catalog, version);
  }
}

function payloadOf({ payload }: JobRecord): ChangesPayload {
  return payload as unknown as ChangesPayload;
}
