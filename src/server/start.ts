import { existsSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { EspalierError } from '../errors.js';
import { chooseKernel, findCudaFor } from '../kernels/index.js';
import type { Config } from './config.js';
import { lockDataDir } from './data-dir-lock.js';
import { type Drainable, drainAll } from './drain.js';
import { buildApp } from './http/app.js';
import type { AppDeps } from './http/app-deps.js';
import { HttpListener } from './http/http-listener.js';
import { IdempotencyKeys } from './jobs/idempotency.js';
import { makeLogger } from './logs/logger.js';
import { Readiness } from './readiness.js';
import { startGrpcServer } from './rpc/grpc-server.js';
import { guardOf } from './rpc/guard.js';
import { CallWatch } from './rpc/watched-calls.js';
import { checkReach } from './security/start-security.js';
import { startServices } from './services.js';
import { startTracing } from './tracing/start-tracing.js';

export interface RunningServer {
  /** e.g. `http://127.0.0.1:8080`. */
  url: string;
  /** Of gRPC, where it has a port. */
  grpcUrl?: string;
  /**
   * Says first that it is not ready, then stops taking requests, finishes those in flight, and ends the threads; jobs
   * go on at the next start. Further calls wait for the first.
   */
  close(): Promise<void>;
  /** Before a process that has not closed in time is ended from outside: ends those that would outlive it. */
  abandon(): void;
}

/** What is undone at a stop, or when a later part cannot start, in the order in which it was started. */
interface Started {
  parts: (() => Promise<void> | void)[];
  abandon: () => void;
}

/**
 * Starts everything: threads, state from the data directory, HTTP. What was started is stopped again when a
 * later part fails.
 * @throws EspalierError ESP_CONFIG_INVALID, ESP_KERNEL_UNKNOWN, ESP_DATA_DIR, ESP_ADDRESS
 */
export async function startServer(config: Config): Promise<RunningServer> {
  const started: Started = { parts: [], abandon: () => {} };
  let closed: Promise<void> | undefined;
  const stopAll = async () => {
    for (const stop of started.parts.splice(0).reverse()) await stop();
  };
  const close = () => {
    closed ??= stopAll();
    return closed;
  };
  try {
    return { ...(await start(config, started)), close, abandon: () => started.abandon() };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

/** @param started gets what undoes each part */
async function start(config: Config, started: Started): Promise<Pick<RunningServer, 'url' | 'grpcUrl'>> {
  if (!existsSync(config.modelsDir)) {
    throw new EspalierError('ESP_CONFIG_INVALID', `modelsDir: there is no folder ${config.modelsDir}`);
  }
  // Here and not only on the engine's thread, so that a wrong name stops the start with its own error.
  const cuda = findCudaFor();
  const kernel = chooseKernel(undefined, 1, cuda);
  const logger = makeLogger(config);
  if (cuda.state === 'usable') logger.info({ cuda: cuda.state }, `CUDA: ${cuda.message}`);
  if (cuda.state === 'unusable') logger.warn({ cuda: cuda.state }, `CUDA cannot be used: ${cuda.message}`);
  const logError = (error: EspalierError, message: string) => logger.error({ err: error }, message);
  const failures: string[] = [];
  const onThreadFailure = (error: EspalierError) => {
    failures.push(error.message);
    logger.fatal({ err: error }, 'a worker thread died; restart the server');
  };

  checkReach(config);
  started.parts.push(lockDataDir(config.dataDir));
  const services = await startServices(config, { kernel, cuda, logger, onThreadFailure }, started.parts);
  const { catalogs, jobs, metrics, engine } = services;
  started.abandon = () => engine.kill();
  await catalogs.restore({
    onFailure: (catalog, error) =>
      logError(error, `catalog ${catalog} could not be restored and is not served`),
    onDamagedSet: (catalog, set, error) =>
      logError(
        error,
        `catalog ${catalog} is served, but requests under its constraint set ${set} are refused`,
      ),
  });
  jobs.resume();

  const tracing = await startTracing(config, (message) => logger.warn(message));
  started.parts.push(() => tracing?.close());
  const readiness = new Readiness({ ...services, failures });
  const listener = new HttpListener(config, () => metrics.refusals.inc({ reason: 'connections' }));
  const deps = {
    ...services,
    config,
    idempotencyKeys: new IdempotencyKeys(jobs),
    listener,
    readiness,
    tracing,
    notReadyReasons: () => readiness.reasons(),
  };
  const app = await buildApp(deps, logger);
  listener.attach(app);
  /** Everything that listens, so that a stop closes all of it alike. */
  const drainables: Drainable[] = [listener];
  started.parts.push(() => drainAll(drainables, config.shutdownGraceMs));
  const url = await listen(app, config);
  const grpc = await startGrpc(config, { ...deps, app });
  if (grpc !== undefined) drainables.push(grpc);
  started.parts.push(async () => {
    readiness.drain();
    logger.info('the server is shutting down');
    await setTimeout(config.drainDelayMs);
  });
  return { url, ...(grpc && { grpcUrl: grpc.url }) };
}

async function startGrpc({ host, grpcPort }: Config, deps: AppDeps & { app: FastifyInstance }) {
  if (grpcPort === undefined) return undefined;
  const guard = guardOf(deps.gatekeeper, deps.pressure);
  const watch = new CallWatch(deps.metrics, deps.tracing);
  return startGrpcServer({ ...deps, guard, watch }, { host, port: grpcPort });
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
