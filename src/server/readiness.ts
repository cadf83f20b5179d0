import type { EngineClient } from '../decoder/index.js';
import type { EspalierError } from '../errors.js';
import type { CatalogService } from './catalogs/catalog-service.js';
import type { WorkQueue } from './jobs/work-queue.js';
import type { Gatekeeper } from './security/gatekeeper.js';

export interface ReadinessDeps {
  engine: Pick<EngineClient, 'engineCount' | 'lossOf'>;
  queue: Pick<WorkQueue, 'unavailable'>;
  gatekeeper: Pick<Gatekeeper, 'failure'>;
  catalogs: Pick<CatalogService, 'notServing' | 'list'>;
  /** Why threads that nothing replaces have died. */
  failures: readonly string[];
}

/** Whether the server should get traffic: models are loaded, catalogs are active, and it is not about to stop. */
export class Readiness {
  readonly #deps: ReadinessDeps;
  #isDraining = false;

  constructor(deps: ReadinessDeps) {
    this.#deps = deps;
  }

  /** From here on it is not ready, though it still answers. */
  drain(): void {
    this.#isDraining = true;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  /** Why the server should not get traffic; empty when it should. */
  reasons(): string[] {
    const { engine, gatekeeper, catalogs, failures } = this.#deps;
    const draining = this.#isDraining ? ['the server is shutting down'] : [];
    const keys = gatekeeper.failure === undefined ? [] : [gatekeeper.failure.message];
    const engines = engine.engineCount === 0 ? ['every decode engine is being replaced'] : [];
    const notServed = catalogs
      .notServing()
      .map(({ name, error }) => notServedReason(name, engine.lossOf(name) ?? error));
    const anyActive = catalogs.list().some(({ active }) => active !== null);
    const inactive = anyActive ? [] : ['no catalog has an active version'];
    return [...draining, ...failures, ...keys, ...engines, ...notServed, ...inactive];
  }

  /**
   * What it cannot do although it should get traffic. Replicas may share one Redis: were they not ready without it, its
   * loss would take all of them out of rotation, and recommending needs no Redis.
   */
  degraded(): string[] {
    const redis = this.#deps.queue.unavailable();
    return redis === undefined ? [] : [`${redis}; uploads are refused`];
  }
}

function notServedReason(name: string, error: EspalierError | undefined): string {
  const isPublic = error !== undefined && error.code !== 'ESP_INTERNAL';
  return `catalog ${name} is not served: ${isPublic ? `${error.code}: ${error.message}` : 'the log has more'}`;
}
