import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { availableParallelism } from 'node:os';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import { EngineClient } from '../decoder/index.js';
import { EspalierError } from '../errors.js';
import { chooseKernel } from '../kernels/index.js';
import { Activator } from './catalogs/activator.js';
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
import { lockDataDir } from './data-dir-lock.js';
import { buildApp } from './http/app.js';
import { IdempotencyKeys } from './jobs/idempotency.js';
import { type Job, JobStore } from './jobs/job-store.js';
import { Jobs } from './jobs/jobs.js';
import { startQueue } from './jobs/start-queue.js';
import { Metrics } from './metrics.js';
import { ModelStore } from './model-store.js';
import { ModelRegistry } from './models/model-registry.js';
import { ModelService } from './models/model-service.js';

export interface RunningServer {
  /** e.g. `http://127.0.0.1:8080`. */
  url: string;
  /** Stops taking requests, finishes those in flight, and ends the threads; jobs go on at the next start. */
  close(): Promise<void>;
}

/**
 * Starts everything: threads, state from the data directory, HTTP. What was started is stopped again when a
 * later part fails.
 * @throws EspalierError ESP_CONFIG_INVALID, ESP_KERNEL_UNKNOWN, ESP_DATA_DIR, ESP_ADDRESS
 */
export async function startServer(config: Config): Promise<RunningServer> {
  const started: (() => Promise<void> | void)[] = [];
  const close = async () => {
    for (const stop of started.splice(0).reverse()) await stop();
  };
  try {
    return { url: await start(config, started), close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** @param started gets what undoes each part, in the order in which they were started. */
async function start(config: Config, started: (() => Promise<void> | void)[]): Promise<string> {
  if (!existsSync(config.modelsDir)) {
    throw new EspalierError('ESP_CONFIG_INVALID', `modelsDir: there is no folder ${config.modelsDir}`);
  }
  // Here and not only on the engine's thread, so that a wrong name stops the start with its own error.
  const kernel = chooseKernel();
  const logger = pino({ level: config.logLevel });
  const logError = (error: EspalierError, message: string) => logger.error({ err: error }, message);
  const failures: string[] = [];
  const onThreadFailure = (error: EspalierError) => {
    failures.push(error.message);
    logger.fatal({ err: error }, 'a worker thread died; restart the server');
  };

  if (!/^(127\.|::1$|localhost$)/.test(config.host)) {
    logger.warn(`anyone who reaches ${config.host} can change catalogs and rules: there are no API keys yet`);
  }

  started.push(lockDataDir(config.dataDir));
  const store = new CatalogStore(config.dataDir);
  const jobStore = new JobStore(config.dataDir, (error) => logError(error, 'a job is forgotten'));
  const sets = new SetStore(config.dataDir);
  const records = new CatalogRecords(store);
  store.clean(jobStore.unfinished());
  for (const { name } of records.list()) sets.clean(name, unfinishedLists(name, jobStore.unfinished()));
  const aliases = new Aliases(config.dataDir);
  const changes = new ChangeLogs(store);
  const models = new ModelStore(config.modelsDir);
  const metrics: Metrics = new Metrics(
    kernel,
    () => ({ queueLength: engine.queueLength, engineCount: engine.engineCount }),
    () => setService.freshness(),
  );
  const engine = new EngineClient({
    isolation: config.decodeIsolation,
    engineCount: config.decodeEngines || defaultEngineCount(config.decodeThreads),
    threads: config.decodeThreads,
    stepThreads: config.stepThreads,
    prefillCacheBytes: config.prefillCacheBytes,
    queueLimit: config.decodeQueueLimit,
    maxBatchRows: config.maxBatchRows,
    maxBatchWaitMs: config.maxBatchWaitMs,
    hangTimeoutMs: config.decodeHangTimeoutMs,
    onFailure: (error) => {
      metrics.engineFailures.inc();
      logError(error, 'a decode engine is being replaced');
    },
    onBatch: (batch) => metrics.recordBatch(batch),
  });
  started.push(() => engine.close());
  const onJobEnd = ({ kind, state }: Job, durationMs: number) =>
    metrics.jobDuration.observe({ kind, state }, durationMs / 1000);
  const { dataDir, keepVersions } = config;
  const { queue, close: closeQueue } = startQueue(config, logger);
  started.push(closeQueue);
  const jobs = new Jobs({ dataDir, store: jobStore, queue, onEnd: onJobEnd, log: logError });
  const evaluator = new SetEvaluator(store, sets, changes, onThreadFailure);
  started.push(() => evaluator.close());
  const registry: ModelRegistry = new ModelRegistry(
    models,
    engine,
    () => activator.servingModels(records.list()),
    (error) => logError(error, 'models that nothing serves with could not be unloaded'),
  );
  started.push(() => registry.close());
  const activator: Activator = new Activator({
    store,
    sets,
    changes,
    models,
    registry,
    engine,
    evaluator,
    onEvaluated: (catalog, set) => setService.scheduleRefresh(catalog, set),
  });
  const setService: SetService = new SetService({
    sets,
    aliases,
    records,
    activator,
    evaluator,
    engine,
    keepVersions,
    onRefresh: (error, catalog, set) => {
      metrics.setRefreshes.inc({ outcome: error === null ? 'succeeded' : 'failed' });
      if (error !== null)
        logError(error, `constraint set ${set} of catalog ${catalog} could not be refreshed`);
    },
  });
  started.push(() => setService.close());
  const catalogs = new CatalogService({
    store,
    records,
    sets,
    aliases,
    changes,
    activator,
    models,
    registry,
    engine,
    jobs,
    uploadLimitBytes: config.uploadLimitBytes,
    keepVersions,
    onError: logError,
  });
  const { uploadLimitBytes } = config;
  const setBuilds = new SetBuilds({ store, sets, service: setService, records, jobs, uploadLimitBytes });
  const builds = new ChangeBuilds({
    store,
    records,
    changes,
    jobs,
    activate: (...args) => catalogs.activateOver(...args),
  });
  const items = new ItemService({ records, sets, changes, builds, activator, evaluator, engine });
  started.push(() => jobs.close());
  await catalogs.restore((catalog, error) => {
    logError(error, `catalog ${catalog} could not be restored and is not served`);
  });
  jobs.resume();

  const notReadyReasons = () => {
    const engines = engine.engineCount === 0 ? ['every decode engine is being replaced'] : [];
    const redis = queue.unavailable();
    const waiting = redis === undefined ? [] : [`${redis}; uploads are refused`];
    const reasons = [...failures, ...engines, ...waiting, ...catalogs.notServing().map(notServedReason)];
    const anyActive = catalogs.list().some(({ active }) => active !== null);
    return anyActive ? reasons : [...reasons, 'no catalog has an active version'];
  };
  const modelService = new ModelService({ models, registry, catalogs, engine });
  const deps = {
    config,
    catalogs,
    sets: setService,
    setBuilds,
    items,
    models: modelService,
    store,
    jobs,
    idempotencyKeys: new IdempotencyKeys(jobs),
    engine,
    metrics,
    kernel,
    notReadyReasons,
  };
  const app = await buildApp(deps, logger);
  started.push(() => closeApp(app, config.shutdownGraceMs));
  return listen(app, config);
}

function notServedReason({ name, error }: { name: string; error: EspalierError | undefined }): string {
  const isPublic = error !== undefined && error.code !== 'ESP_INTERNAL';
  return `catalog ${name} is not served: ${isPublic ? `${error.code}: ${error.message}` : 'the log has more'}`;
}

/** Half of the cores for models; the others serve HTTP, evaluate rules and build. */
function defaultEngineCount(decodeThreads: number): number {
  return Math.max(1, Math.floor(availableParallelism() / 2 / decodeThreads));
}

/** @returns the server's address as a URL. */
async function listen(app: FastifyInstance, { host, port }: Config): Promise<string> {
  try {
    await app.listen({ host, port });
  } catch (cause) {
    const { message } = cause as Error;
    throw new EspalierError('ESP_ADDRESS', `cannot listen on ${host}, port ${port}: ${message}`, { cause });
  }
  const address = app.server.address() as AddressInfo;
  return `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`;
}

/** Requests in flight may finish; what has not by then, such as a stalled upload, is cut off. */
async function closeApp(app: FastifyInstance, graceMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), graceMs);
  await app.close();
  clearTimeout(timer);
}
