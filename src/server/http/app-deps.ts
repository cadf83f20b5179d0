import type { BulkJobs } from '../bulk/bulk-jobs.js';
import type { CatalogService } from '../catalogs/catalog-service.js';
import type { CatalogStore } from '../catalogs/catalog-store.js';
import type { ItemService } from '../catalogs/item-service.js';
import type { Config } from '../config.js';
import type { SetBuilds } from '../constraint-sets/set-builds.js';
import type { SetService } from '../constraint-sets/set-service.js';
import type { IdempotencyKeys } from '../jobs/idempotency.js';
import type { Jobs } from '../jobs/jobs.js';
import type { KernelFacts } from '../kernel-facts.js';
import type { Metrics } from '../metrics/index.js';
import type { ModelService } from '../models/model-service.js';
import type { Readiness } from '../readiness.js';
import type { RecommendService } from '../recommend/recommend-service.js';
import type { AuditLog } from '../security/audit-log.js';
import type { Gatekeeper } from '../security/gatekeeper.js';
import type { RateLimits } from '../security/rate-limits.js';
import type { Tracing } from '../tracing/tracing.js';
import type { HttpListener } from './http-listener.js';
import type { Pressure } from './pressure.js';

/** What the routes work with. */
export interface AppDeps {
  config: Config;
  recommend: RecommendService;
  bulkJobs: BulkJobs;
  catalogs: CatalogService;
  sets: SetService;
  setBuilds: SetBuilds;
  items: ItemService;
  store: CatalogStore;
  models: ModelService;
  jobs: Jobs;
  idempotencyKeys: IdempotencyKeys;
  metrics: Metrics;
  gatekeeper: Gatekeeper;
  limits: RateLimits;
  audit: AuditLog;
  /** undefined where there are no traces. */
  tracing: Tracing | undefined;
  kernel: KernelFacts;
  listener: HttpListener;
  pressure: Pressure;
  readiness: Readiness;
  /** Why the server should not get traffic; empty when it should. */
  notReadyReasons: () => string[];
}
