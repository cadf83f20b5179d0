import type { ItemFile, SetList } from '../../static-trie/index.js';
import type { ListInput } from '../catalogs/build-worker.js';
import type { CatalogRecords } from '../catalogs/catalog-records.js';
import type { CatalogStore } from '../catalogs/catalog-store.js';
import type { ChangeRequest } from '../change-request.js';
import type { Idempotency, StartedJob } from '../jobs/idempotency.js';
import type { JobRecord } from '../jobs/job-store.js';
import type { Jobs } from '../jobs/jobs.js';
import type { WorkResult } from '../jobs/work-queue.js';
import type { SetVersion } from './set-record.js';
import type { SetService } from './set-service.js';
import type { SetStore } from './set-store.js';

export interface SetBuildsDeps {
  store: CatalogStore;
  sets: SetStore;
  service: SetService;
  records: CatalogRecords;
  jobs: Jobs;
  /** What an upload may unpack to. */
  uploadLimitBytes: number;
}

/** A `constraint-set-build` job's payload: what its work needs, and what its last part does. */
interface ListPayload extends ListInput {
  catalog: string;
  set: string;
  /** Of the set's record when the list came. */
  setId: string | undefined;
  version: number;
  by: string | null;
  /** Whether the version is in force when it is read. */
  activate: boolean;
}

/** Versions of constraint sets from lists of ids or SIDs: the `constraint-set-build` jobs. */
export class SetBuilds {
  readonly #deps: SetBuildsDeps;

  constructor(deps: SetBuildsDeps) {
    this.#deps = deps;
    deps.jobs.define('constraint-set-build', {
      findResult: (job) => this.#find(payloadOf(job)),
      finish: (job, result, onProgress) => this.#finish(payloadOf(job), result, onProgress),
      discard: (job) => this.#discard(payloadOf(job)),
    });
  }

  /** Starts the reading of a list that was received; its files are the job's from then on. */
  async start(
    catalog: string,
    set: string,
    files: readonly ItemFile[],
    activate: boolean,
    change: ChangeRequest,
    idempotency: Idempotency,
  ): Promise<StartedJob> {
    const { store, sets, service, records, jobs, uploadLimitBytes: maxBytes } = this.#deps;
    const { codebookSizes } = records.get(catalog);
    const { version, id: setId } = await service.reserveVersion(catalog, set, change);
    const payload: ListPayload = {
      catalog,
      set,
      setId,
      version,
      by: change.by,
      activate,
      files: files.map((file) => ({ ...file, path: store.relativePath(file.path) })),
      maxBytes,
      path: store.relativePath(sets.newListPath(catalog, set, version)),
      codebookSizes,
    };
    try {
      const job = await jobs.submit({
        kind: 'constraint-set-build',
        payload: { ...payload },
        files: payload.files.map(({ path }) => path),
        catalog,
        version,
        ...(idempotency && { idempotency }),
      });
      return { job, version };
    } catch (thrown) {
      await service.abandonVersion(catalog, set, setId, version);
      throw thrown;
    }
  }

  #find({ catalog, set, setId, version }: ListPayload): WorkResult | undefined {
    const found = this.#deps.service
      .same(catalog, set, setId)
      .versions.find((one) => one.version === version);
    return found && found.truth.kind !== 'rule' ? { ...found.truth, hash: found.hash } : undefined;
  }

  async #finish(
    { catalog, set, setId, version, by, activate, path }: ListPayload,
    result: WorkResult,
    onProgress: (phase: string, fraction: number) => void,
  ): Promise<Record<string, unknown>> {
    const { service, store } = this.#deps;
    const { kind, count, hash } = result as unknown as SetList;
    const createdAt = new Date().toISOString();
    const truth = { kind, count };
    const added: SetVersion = { version, truth, refresh: null, hash, createdAt, createdBy: by };
    await service.addList(catalog, set, setId, added, store.absolutePath(path));
    if (activate) {
      onProgress('activating', 0);
      await service.activateBuilt(catalog, set, setId, version, by);
    }
    const { evaluation } = service.get(catalog, set);
    return {
      catalog,
      constraintSet: set,
      version,
      kind,
      count,
      activated: activate,
      ...(activate &&
        evaluation !== null && { items: evaluation.items, unknownCount: evaluation.unknownCount }),
    };
  }

  #discard({ catalog, set, setId, version, path }: ListPayload): Promise<void> {
    const { service, sets, store } = this.#deps;
    sets.discardList(store.absolutePath(path));
    return service.abandonVersion(catalog, set, setId, version);
  }
}

/** The builds among jobs of a catalog. */
export function unfinishedLists(
  catalog: string,
  jobs: readonly JobRecord[],
): { set: string; version: number; path: string }[] {
  return jobs
    .filter((job) => job.kind === 'constraint-set-build' && job.catalog === catalog)
    .map((job) => payloadOf(job));
}

function payloadOf({ payload }: JobRecord): ListPayload {
  return payload as unknown as ListPayload;
}
