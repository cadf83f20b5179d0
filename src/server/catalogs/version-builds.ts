import { rmSync } from 'node:fs';
import { ThreadClient } from '../../decoder/index.js';
import type { ItemFile } from '../../static-trie/index.js';
import type { JobRunner } from '../jobs/job-runner.js';
import type { Job, JobStore } from '../jobs/job-store.js';
import type { CatalogRecord, CatalogStore } from './catalog-store.js';
import type { BuildEvent, CatalogHandlers } from './catalog-worker.js';

export interface VersionBuildsDeps {
  store: CatalogStore;
  jobs: JobStore;
  runner: JobRunner;
  /** What an upload may unpack to. */
  uploadLimitBytes: number;
}

const WORKER = new URL('./catalog-worker.js', import.meta.url);

/** Builds catalog versions from uploads, one after the other. */
export class VersionBuilds {
  readonly #deps: VersionBuildsDeps;
  readonly #building = new Map<string, number>();

  constructor(deps: VersionBuildsDeps) {
    this.#deps = deps;
  }

  /** Whether builds are under way; their versions depend on the catalog's attributes as they are. */
  isBuilding(catalog: string): boolean {
    return this.#building.has(catalog);
  }

  /**
   * Starts the build of a new version from an upload that was received, for the catalog's model as it
   * is now.
   * @param activate called when the version is built; where it is absent the version stays inactive.
   */
  start(
    record: CatalogRecord,
    files: ItemFile[],
    by: string | null,
    activate?: (version: number) => Promise<unknown>,
  ): { job: Job; version: number } {
    const { store, runner, jobs } = this.#deps;
    const catalog = record.name;
    const version = store.reserveVersion(catalog);
    const job = runner.submit('catalog-build', async (jobId) => {
      try {
        const counts = await this.#build(jobId, record, version, files, by);
        if (activate !== undefined) {
          jobs.progress(jobId, 'activating', 0);
          await activate(version);
        }
        return { catalog, version, ...counts, activated: activate !== undefined };
      } finally {
        this.#countBuilding(catalog, -1);
        for (const { path } of files) rmSync(path, { force: true });
      }
    });
    this.#countBuilding(catalog, +1);
    return { job, version };
  }

  /** Builds on a thread of its own: the memory that parsing takes is given back when it ends. */
  async #build(
    jobId: string,
    { name: catalog, model, codebookSizes, attributes: schema }: CatalogRecord,
    version: number,
    files: ItemFile[],
    by: string | null,
  ): Promise<{ items: number; leaves: number }> {
    const { store, jobs } = this.#deps;
    const onEvent = (event: unknown) => {
      const { phase, fraction } = event as BuildEvent;
      jobs.progress(jobId, phase, fraction);
    };
    const builder = new ThreadClient<CatalogHandlers>(WORKER, undefined, () => {}, onEvent);
    try {
      const path = store.catalogFilePath(catalog, version);
      const { uploadLimitBytes: maxBytes } = this.#deps;
      const counts = await builder.call('build', { jobId, files, maxBytes, path, schema, codebookSizes });
      store.putVersion(catalog, {
        version,
        model,
        ...counts,
        createdAt: new Date().toISOString(),
        createdBy: by,
      });
      return counts;
    } catch (thrown) {
      store.clearVersion(catalog, version);
      throw thrown;
    } finally {
      await builder.close();
    }
  }

  #countBuilding(catalog: string, change: number): void {
    const count = (this.#building.get(catalog) ?? 0) + change;
    if (count === 0) this.#building.delete(catalog);
    else this.#building.set(catalog, count);
  }
}
