import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { EspalierError } from '../errors.js';
import { chooseKernel } from '../kernels/index.js';
import type { Config } from './config.js';
import { lockDataDir } from './data-dir-lock.js';
import { buildApp } from './http/app.js';
import { IdempotencyKeys } from './jobs/idempotency.js';
import { makeLogger } from './logs/logger.js';
import { startServices } from './services.js';
import { startTracing } from './tracing/start-tracing.js';

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
  const logger = makeLogger(config);
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
  const services = await startServices(config, { kernel, logger, onThreadFailure }, started);
  const { catalogs, jobs, queue, engine } = services;
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
  const tracing = await startTracing(config, (message) => logger.warn(message));
  started.push(() => tracing?.close());
  const idempotencyKeys = new IdempotencyKeys(jobs);
  const deps = { ...services, config, idempotencyKeys, kernel, notReadyReasons, tracing };
  const app = await buildApp(deps, logger);
  started.push(() => closeApp(app, config.shutdownGraceMs));
  return listen(app, config);
}

function notServedReason({ name, error }: { name: string; error: EspalierError | undefined }): string {
  const isPublic = error !== undefined && error.code !== 'ESP_INTERNAL';
  return `catalog ${name} is not served: ${isPublic ? `${error.code}: ${error.message}` : 'the log has more'}`;
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
