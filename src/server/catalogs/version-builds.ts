import type { ItemFile } from '../../static-trie/index.js';
import type { Idempotency, StartedJob } from '../jobs/idempotency.js';
import type { JobRecord } from '../jobs/job-store.js';
import type { Jobs } from '../jobs/jobs.js';
import type { WorkResult } from '../jobs/work-queue.js';
import type { BuildCounts, BuildInput } from './build-worker.js';
import type { CatalogRecord, CatalogStore, ModelPin } from './catalog-store.js';

export interface VersionBuildsDeps {
  store: CatalogStore;
  jobs: Jobs;
  /** What an upload may unpack to. */
  uploadLimitBytes: number;
  activate: (catalog: string, version: number, by: string | null) => Promise<void>;
}

/** A `catalog-build` job's payload: what its work needs, and what its last part does. */
interface BuildPayload extends BuildInput {
  catalog: string;
  version: number;
  model: ModelPin;
  by: string | null;
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
    { name: catalog, model, codebookSizes, attributes: schema }: CatalogRecord,
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
        version,
        model,
        activate,
        by,
        changesAfter,
        files: uploads,
        maxBytes,
        path: store.relativePath(store.catalogFilePath(catalog, version)),
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

  #findCounts({ catalog, version }: BuildPayload): BuildCounts | undefined {
    const record = this.#deps.store.findVersion(catalog, version);
    return record && { items: record.items, leaves: record.leaves, hash: record.hash! };
  }

  async #finish(
    { catalog, version, model, by, changesAfter, activate }: BuildPayload,
    result: WorkResult,
    onProgress: (phase: string, fraction: number) => void,
  ): Promise<Record<string, unknown>> {
    const { store } = this.#deps;
    const { items, leaves, hash } = result as BuildCounts;
    if (store.findVersion(catalog, version) === undefined) {
      const created = { createdAt: new Date().toISOString(), createdBy: by };
      store.putVersion(catalog, { version, model, items, leaves, hash, changesAfter, ...created });
    }
    if (activate) {
      onProgress('activating', 0);
      await this.#deps.activate(catalog, version, by);
    }
    return { catalog, version, items, leaves, activated: activate };
  }

  /** A version that was built stays, even where it could not be activated. */
  #discard({ catalog, version }: BuildPayload): void {
    const { store } = this.#deps;
    if (store.findVersion(catalog, version) === undefined) store.clearVersion(catalog, version);
  }
}

function payloadOf({ payload }: JobRecord): BuildPayload {
  return payload as unknown as BuildPayload;
}
