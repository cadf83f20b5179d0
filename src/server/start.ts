import type { AddressInfo } from 'node:net';
import { EngineClient } from '../decoder/index.js';
import type { EspalierError } from '../errors.js';
import { chooseKernel } from '../kernels/index.js';
import { CatalogService } from './catalogs/catalog-service.js';
import { CatalogStore } from './catalogs/catalog-store.js';
import type { Config } from './config.js';
import { buildApp } from './http/app.js';
import { JobRunner } from './jobs/job-runner.js';
import { JobStore } from './jobs/job-store.js';
import { Metrics } from './metrics.js';
import { ModelStore } from './model-store.js';

export interface RunningServer {
  /** e.g. `http://127.0.0.1:8080`. */
  url: string;
  /** Stops taking requests, finishes those in flight and the job that runs, and ends the threads. */
  close(): Promise<void>;
}

/** Starts everything: threads, state from the data directory, HTTP. */
export async function startServer(config: Config): Promise<RunningServer> {
  // Here and not only on the engine's thread, so that a wrong name stops the start with its own error.
  const kernelName = chooseKernel().name;
  const failures: string[] = [];
  let log: (error: EspalierError, message: string) => void = () => {};
  const onThreadFailure = (error: EspalierError) => {
    failures.push(error.message);
    log(error, 'a worker thread died; restart the server');
  };
  const engine = new EngineClient({
    threads: config.decodeThreads,
    queueLimit: config.decodeQueueLimit,
    onFailure: onThreadFailure,
  });
  const metrics = new Metrics(kernelName, () => engine.queueLength);
  const store = new CatalogStore(config.dataDir);
  const jobs = new JobStore(config.dataDir);
  const runner = new JobRunner(jobs, ({ kind, state }, durationMs) =>
    metrics.jobDuration.observe({ kind, state }, durationMs / 1000),
  );
  const models = new ModelStore(config.modelsDir);
  const catalogs = new CatalogService({ store, models, engine, jobs, runner, onThreadFailure });
  const notReadyReasons = () => {
    const reasons = [...failures, ...catalogs.notServing().map((name) => `catalog ${name} is not served`)];
    const anyActive = catalogs.list().some(({ activeVersion }) => activeVersion !== null);
    return anyActive ? reasons : [...reasons, 'no catalog has an active version'];
  };
  const app = await buildApp({ config, catalogs, store, jobs, engine, metrics, kernelName, notReadyReasons });
  log = (error, message) => app.log.fatal({ err: error }, message);
  await catalogs.restore((catalog, error) => {
    app.log.error({ err: error, catalog }, `catalog ${catalog} could not be restored and is not served`);
  });
  await app.listen({ host: config.host, port: config.port });
  const { port } = app.server.address() as AddressInfo;
  const host = config.host.includes(':') ? `[${config.host}]` : config.host;
  return {
    url: `http://${host}:${port}`,
    async close() {
      await app.close();
      await runner.close();
      await catalogs.close();
      await engine.close();
    },
  };
}
