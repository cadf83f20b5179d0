import { randomUUID } from 'node:crypto';
import type { ItemFile } from '../../static-trie/index.js';
import type { Idempotency, StartedJob } from '../jobs/idempotency.js';
import type { JobRecord } from '../jobs/job-store.js';
import type { Jobs } from '../jobs/jobs.js';
import type { WorkResult } from '../jobs/work-queue.js';
import type { BuildCounts, BuildInput } from './build-worker.js';
import type { CatalogRecords } from './catalog-records.js';
import type { CatalogRecord, CatalogStore, ModelPin } from './catalog-store.js';

export interface VersionBuildsDeps {
  store: CatalogStore;
  records: CatalogRecords;
  jobs: Jobs;
  /** What an upload may unpack to. */
  uploadLimitBytes: number;
  activate: (build: BuiltVersion) => Promise<void>;
}

/** A version that an upload came to. */
export interface BuiltVersion {
  catalog: string;
  /** Of the catalog's record when the upload began. */
  catalogId: string | undefined;
  version: number;
  by: string | null;
}

/** A `catalog-build` job's payload: what its work needs, and what its last part does. */
interface BuildPayload extends BuildInput, BuiltVersion {
  model: ModelPin;
  /** The last of the catalog's small changes before the upload; those after it apply to the version, too. */
  changesAfter: number;
  /** Whether the version becomes active when it is built. */
  activate: boolean;
}

/** Catalog versions from uploads: the `catalog-build` jobs. */
export class VersionBuilds {
  readonly #deps: VersionBuildsDeps;
  /** Catalogs whose job is not there yet, though its version is. */
  readonly #starting: string[] = [];

  constructor(deps: VersionBuildsDeps) {
    this.#deps = deps;
    deps.jobs.define('catalog-build', {
      findResult: (job) => this.#findCounts(payloadOf(job)),
      finish: (job, result, onProgress) => this.#finish(payloadOf(job), result, onProgress),
      discard: (job) => this.#discard(payloadOf(job)),
    });
  }

  /** Whether builds are under way; their versions depend on the catalog's attributes as they are. */
  isBuilding(catalog: string): boolean {
    return this.#starting.includes(catalog) || this.#deps.jobs.unfinishedOf(catalog).length > 0;
  }

  /** What versions that are to come need of the small changes. */
  unfinished(catalog: string): { changesAfter: number }[] {
    // Those of new items say it in the same way; other jobs need none.
    const payloads = this.#deps.jobs.unfinishedOf(catalog).map(payloadOf);
    return payloads.filter(({ changesAfter }) => changesAfter !== undefined);
  }

  /** Starts the build of a new version from an upload that was received, for the catalog's model as it is now. */
  async start(
    { name: catalog, id: catalogId, model, codebookSizes, attributes: schema }: CatalogRecord,
    files: ItemFile[],
    activate: boolean,
    by: string | null,
    changesAfter: number,
    idempotency: Idempotency,
  ): Promise<StartedJob> {
    const { store, jobs, uploadLimitBytes: maxBytes } = this.#deps;
    this.#starting.push(catalog);
    try {
      const version = store.reserveVersion(catalog);
      const uploads = files.map((file) => ({ ...file, path: store.relativePath(file.path) }));
      const payload: BuildPayload = {
        catalog,
        catalogId,
        version,
        model,
        activate,
        by,
        changesAfter,
        files: uploads,
        maxBytes,
        // Of this job alone: one of a catalog that was deleted may still write what had the same name and number.
        path: store.relativePath(`${store.catalogFilePath(catalog, version)}.${randomUUID()}.tmp`),
        schema,
        codebookSizes,
      };
      const job = await jobs.submit({
        kind: 'catalog-build',
        payload: { ...payload },
        files: uploads.map(({ path }) => path),
        catalog,
        version,
        ...(idempotency && { idempotency }),
      });
      return { job, version };
    } finally {
      this.#starting.splice(this.#starting.indexOf(catalog), 1);
    }
  }

  #findCounts({ catalog, catalogId, version }: BuildPayload): BuildCounts | undefined {
    const { store, records } = this.#deps;
    records.same(catalog, catalogId);
    const record = store.findVersion(catalog, version);
    return record && { items: record.items, leaves: record.leaves, hash: record.hash! };
  }

  async #finish(
    { catalog, catalogId, version, model, by, changesAfter, activate, path }: BuildPayload,
    result: WorkResult,
    onProgress: (phase: string, fraction: number) => void,
  ): Promise<Record<string, unknown>> {
    const { store, records } = this.#deps;
    const { items, leaves, hash } = result as BuildCounts;
    records.same(catalog, catalogId);
    if (store.findVersion(catalog, version) === undefined) {
      store.takeCatalogFile(path, catalog, version);
      const created = { createdAt: new Date().toISOString(), createdBy: by };
      store.putVersion(catalog, { version, model, items, leaves, hash, changesAfter, ...created });
    }
    if (activate) {
      onProgress('activating', 0);
      await this.#deps.activate({ catalog, catalogId, version, by });
    }
    return { catalog, version, items, leaves, activated: activate };
  }

  /** A version that was built stays, even where it could not be activated. */
  #discard({ catalog, catalogId, version }: BuildPayload): void {
    const { store, records } = this.#deps;
    if (records.find(catalog)?.id !== catalogId) return;
    if (store.findVersion(catalog, version) === undefined) store.clearVersion(catalog, version);
  }
}

function payloadOf({ payload }: JobRecord): BuildPayload {
  return payload as unknown as BuildPayload;
}
