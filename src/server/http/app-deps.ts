import type { EngineClient } from '../../decoder/index.js';
import type { Kernel } from '../../kernels/index.js';
import type { CatalogService } from '../catalogs/catalog-service.js';
import type { CatalogStore } from '../catalogs/catalog-store.js';
import type { Config } from '../config.js';
import type { SetService } from '../constraint-sets/set-service.js';
import type { JobStore } from '../jobs/job-store.js';
import type { Metrics } from '../metrics.js';
import type { ModelService } from '../models/model-service.js';

/** What the routes work with. */
export interface AppDeps {
  config: Config;
  catalogs: CatalogService;
  sets: SetService;
  store: CatalogStore;
  models: ModelService;
  jobs: JobStore;
  engine: EngineClient;
  metrics: Metrics;
  kernel: Pick<Kernel, 'name' | 'stepName'>;
  /** Why the server should not get traffic; empty when it should. */
  notReadyReasons: () => string[];
}
