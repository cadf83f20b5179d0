import { availableParallelism } from 'node:os';
import type { Logger } from 'pino';
import { EngineClient } from '../decoder/index.js';
import type { EspalierError } from '../errors.js';
import type { CudaFinding, DeviceReport, Kernel } from '../kernels/index.js';
import { BulkJobs } from './bulk/bulk-jobs.js';
import { Activator } from './catalogs/activator.js';
import { CatalogFactsReader } from './catalogs/catalog-facts.js';
import { CatalogRecords } from './catalogs/catalog-records.js';
import { CatalogService } from './catalogs/catalog-service.js';
import { CatalogStore } from './catalogs/catalog-store.js';
import { ChangeBuilds } from './catalogs/change-builds.js';
import { ChangeLogs } from './catalogs/change-logs.js';
import { ItemService } from './catalogs/item-service.js';
import { SetEvaluator } from './catalogs/set-evaluator.js';
import type { Config } from './config.js';
import { Aliases } from './constraint-sets/aliases.js';
import { SetBuilds, unfinishedLists } from './constraint-sets/set-builds.js';
import { SetService } from './constraint-sets/set-service.js';
import { SetStore } from './constraint-sets/set-store.js';
import { Pressure } from './http/pressure.js';
import { type Job, JobStore } from './jobs/job-store.js';
import { Jobs } from './jobs/jobs.js';
import { startQueue } from './jobs/start-queue.js';
import { KernelFacts } from './kernel-facts.js';
import { RecommendLog } from './logs/recommend-log.js';
import { Metrics } from './metrics/index.js';
import { ModelStore } from './model-store.js';
import { ModelRegistry } from './models/model-registry.js';
import { ModelService } from './models/model-service.js';
import { RecommendService } from './recommend/recommend-service.js';
import { jobEnd, startSecurity } from './security/start-security.js';

export interface ServicesDeps {
  kernel: Pick<Kernel, 'name' | 'stepName'>;
  /** What the process has found of a GPU. */
  cuda: CudaFinding;
  logger: Logger;
  /** A thread that nothing replaces has died. */
  onThreadFailure: (error: EspalierError) => void;
}

/** By then nobody waits for a batch any more: its connections are closed. */
const ENGINE_GRACE_MS = 1_000;

type LogError = (error: EspalierError, message: string) => void;

/**
 * Starts what serves and what changes, over the data directory as it is. Nothing serves yet: see
 * `CatalogService.restore` and `Jobs.resume`.
 * @param started gets what undoes each part, in the order in which they were started.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT, ESP_WRITE_FAILED
 */
export async function startServices(
  config: Config,
  { kernel: chosen, cuda, logger, onThreadFailure }: ServicesDeps,
  started: (() => Promise<void> | void)[],
) {
  const logError: LogError = (error, message) => logger.error({ err: error }, message);
  const { dataDir, keepVersions, uploadLimitBytes } = config;
  const stores = openStores(config, logError);
  const { store, jobStore, sets, records, aliases, changes, models } = stores;

  const facts = new CatalogFactsReader(store, records);
  const kernel: KernelFacts = new KernelFacts(chosen, cuda, () => engine.deviceReports);
  const metrics: Metrics = new Metrics({
    kernel,
    decoding: () => ({ queueLength: engine.queueLength, engineCount: engine.engineCount }),
    sets: () => setService.freshness(),
    catalogs: () => facts.read().filter(({ catalog }) => activator.isServing(catalog)),
    isRedisThere: config.redisUrl === undefined ? undefined : () => queue.unavailable() === undefined,
  });
  const onPressure = () => metrics.refusals.inc({ reason: 'pressure' });
  const pressure = new Pressure(config.maxEventLoopDelayMs, onPressure);
  started.push(async () => pressure.close());
  const log = new RecommendLog(logger, config.slowRequestMs);
  const onCatalogLost = (catalog: string, error: EspalierError) => {
    activator.stopped(catalog, error);
    logError(error, `catalog ${catalog} is not served any more`);
  };
  const engine = startEngine(config, { metrics, log, logger, cuda, onCatalogLost });
  started.push(() => engine.close(ENGINE_GRACE_MS));

  const { queue, close: closeQueue } = await startQueue(config, logger);
  started.push(closeQueue);
  const { gatekeeper, limits, audit } = startSecurity(config, metrics.security, logger, started);
  const onEnd = (job: Job, durationMs: number, by: string | null) => {
    const { kind, state } = job;
    metrics.jobDuration.observe({ kind, state }, durationMs / 1000);
    void audit.append(jobEnd(job, by));
  };
  const jobs = new Jobs({
    dataDir,
    store: jobStore,
    queue,
    maxUnfinished: config.maxUnfinishedJobs,
    onEnd,
    onRefusal: () => metrics.refusals.inc({ reason: 'jobs' }),
    log: logError,
  });

  const evaluator = new SetEvaluator(store, sets, changes, onThreadFailure);
  started.push(() => evaluator.close());
  const registry: ModelRegistry = new ModelRegistry(
    models,
    engine,
    () => activator.servingModels(records.list()),
    (error) => logError(error, 'models that nothing serves with could not be unloaded'),
  );
  started.push(() => registry.close());
  const common = { store, records, sets, aliases, changes, models, registry, engine, evaluator, jobs };
  const activator: Activator = new Activator({
    ...common,
    onEvaluated: (catalog, set) => setService.scheduleRefresh(catalog, set),
  });
  const setService: SetService = new SetService({
    ...common,
    activator,
    keepVersions,
    onRefresh: (error, catalog, set) => {
      metrics.setRefreshes.inc({ outcome: error === null ? 'succeeded' : 'failed' });
      if (error === null) return;
      logError(error, `constraint set ${set} of catalog ${catalog} could not be refreshed`);
    },
  });
  started.push(() => setService.close());
  const catalogs: CatalogService = new CatalogService({
    ...common,
    activator,
    uploadLimitBytes,
    keepVersions,
    basesOf: (catalog) => builds.basesOf(catalog),
    onError: logError,
  });
  const setBuilds = new SetBuilds({ ...common, service: setService, uploadLimitBytes });
  const builds: ChangeBuilds = new ChangeBuilds({
    ...common,
    activate: (...args) => catalogs.activateOver(...args),
  });
  const items = new ItemService({ ...common, builds, activator });
  const bulkJobs = new BulkJobs({
    ...common,
    ...config,
    activator,
    onRequests: (outcome, count) => metrics.bulkRequests.inc({ outcome }, count),
  });
  started.push(() => jobs.close());
  const { requestTimeoutMs } = config;
  const recommend = new RecommendService({
    catalogs,
    sets: setService,
    engine,
    metrics,
    log,
    requestTimeoutMs,
  });
  const modelService = new ModelService({ models, registry, catalogs, engine });
  return {
    recommend,
    bulkJobs,
    store,
    catalogs,
    sets: setService,
    setBuilds,
    items,
    models: modelService,
    jobs,
    queue,
    engine,
    kernel,
    metrics,
    gatekeeper,
    limits,
    audit,
    pressure,
  };
}

/** What the data directory holds, without what interrupted work has left behind. */
function openStores({ dataDir, modelsDir }: Config, logError: LogError) {
  const store = new CatalogStore(dataDir).prepare();
  const jobStore = new JobStore(dataDir, (error) => logError(error, 'a job is forgotten'));
  const sets = new SetStore(dataDir, (error) => logError(error, 'a constraint set is refused'));
  const records = new CatalogRecords(store);
  const unfinished = jobStore.unfinished();
  const areAllKnown = jobStore.damagedIds.size === 0;
  store.clean(unfinished, areAllKnown, (error) => logError(error, 'a catalog version is refused'));
  for (const { name } of records.list()) sets.clean(name, unfinishedLists(name, unfinished), areAllKnown);
  const aliases = new Aliases(dataDir, (error) => logError(error, 'aliases are refused'));
  const changes = new ChangeLogs(store, records);
  return { store, jobStore, sets, records, aliases, changes, models: new ModelStore(modelsDir) };
}

interface EngineDeps {
  metrics: Metrics;
  log: RecommendLog;
  logger: Logger;
  cuda: CudaFinding;
  onCatalogLost: (catalog: string, error: EspalierError) => void;
}

function startEngine(
  config: Config,
  { metrics, log, logger, cuda, onCatalogLost }: EngineDeps,
): EngineClient {
  return new EngineClient({
    isolation: config.decodeIsolation,
    engineCount: config.decodeEngines || defaultEngineCount(config.decodeThreads),
    threads: config.decodeThreads,
    stepThreads: config.stepThreads,
    prefillCacheBytes: config.prefillCacheBytes,
    queueLimit: config.decodeQueueLimit,
    maxBatchRows: config.maxBatchRows,
    maxBatchWaitMs: config.maxBatchWaitMs,
    hangTimeoutMs: config.decodeHangTimeoutMs,
    modelOpenTimeoutMs: config.modelOpenTimeoutMs,
    onFailure: (error) => {
      metrics.engineFailures.inc();
      logger.error({ err: error }, 'a decode engine is being replaced');
    },
    onCatalogLost,
    cuda,
    onDevice: deviceLog(logger),
    onBatch: (batch) => metrics.recordBatch(batch),
    onRefusal: (reason) => metrics.refusals.inc({ reason }),
    recheckShare: config.recheckShare,
    onRecheck: (recheck) => {
      metrics.recordRecheck(recheck);
      log.rechecked(recheck);
    },
  });
}

/** Logs what engines say of their device, each line once: several say the same. */
function deviceLog(logger: Logger): (report: DeviceReport) => void {
  let logged = '';
  return ({ state, message, isProblem, stepName }) => {
    if (message === logged) return;
    logged = message;
    const level = state === 'failed' ? 'error' : isProblem ? 'warn' : 'info';
    logger[level]({ cuda: state, step: stepName }, message);
  };
}

/** Half of the cores for models; the others serve HTTP, evaluate rules and build. */
function defaultEngineCount(decodeThreads: number): number {
  return Math.max(1, Math.floor(availableParallelism() / 2 / decodeThreads));
}
