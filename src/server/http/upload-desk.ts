import { randomUUID } from 'node:crypto';
import { rmSync } from 'node:fs';
import type { FastifyRequest } from 'fastify';
import type { ItemFile } from '../../static-trie/index.js';
import type { Idempotency, StartedJob } from '../jobs/idempotency.js';
import type { AppDeps } from './app-deps.js';
import { Gate } from './gate.js';
import { receiveUpload } from './receive-upload.js';

/** What routes work with that take uploads. */
export interface UploadDeps extends AppDeps {
  uploads: UploadDesk;
}

/** Takes uploads for the jobs that work on them: so many at a time, of whatever kind. */
export class UploadDesk {
  readonly #deps: Pick<AppDeps, 'store' | 'jobs' | 'idempotencyKeys' | 'config'>;
  readonly #gate: Gate;

  constructor(deps: Pick<AppDeps, 'store' | 'jobs' | 'idempotencyKeys' | 'config' | 'metrics'>) {
    this.#deps = deps;
    const onRefusal = () => deps.metrics.refusals.inc({ reason: 'uploads' });
    this.#gate = new Gate(deps.config.maxUploads, 'uploads are being received', onRefusal);
  }

  /**
   * The files are those of the job that `start` begins; where there is none they go.
   * @throws EspalierError ESP_OVERLOADED; as `receiveUpload` and `start`
   */
  receive(
    request: FastifyRequest,
    start: (files: ItemFile[], idempotency: Idempotency) => Promise<StartedJob>,
  ): Promise<StartedJob> {
    const { store, jobs, idempotencyKeys, config } = this.#deps;
    return idempotencyKeys.once(request, async (idempotency) => {
      jobs.checkAvailable();
      const newPath = () => store.uploadPath(randomUUID());
      const files = await this.#gate.within(() => receiveUpload(request, newPath, config));
      try {
        return await start(files, idempotency);
      } catch (thrown) {
        for (const { path } of files) rmSync(path, { force: true });
        throw thrown;
      }
    });
  }
}
