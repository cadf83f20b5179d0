import { existsSync } from 'node:fs';
import { pino } from 'pino';
import { EspalierError } from '../errors.js';
import type { Config } from './config.js';
import { readIdentity } from './data-dir-identity.js';
import { isWanted } from './jobs/job-store.js';
import { kindsWithModels, workKinds } from './jobs/work-kinds.js';
import { jobIdOf } from './jobs/work-queue.js';

export interface WorkerConfig {
  /** The server's, or where this machine has it mounted. */
  dataDir: string;
  /** The server's, or where this machine has them; without it bulk jobs are left to others. */
  modelsDir?: string;
  redisUrl: string;
  concurrency: number;
  logLevel: Config['logLevel'];
}

export interface RunningWorker {
  /** Hands back what it works on, for others to begin again. */
  close(): Promise<void>;
}

const REDIS_TIMEOUT_MS = 3_000;

/**
 * Starts working on the jobs of a data directory that a server uses, beside it.
 * @throws EspalierError ESP_DATA_DIR, ESP_REDIS_UNAVAILABLE
 */
export async function startWorker({
  dataDir,
  modelsDir,
  redisUrl,
  concurrency,
  logLevel,
}: WorkerConfig): Promise<RunningWorker> {
  if (!existsSync(dataDir)) throw new EspalierError('ESP_DATA_DIR', `there is no folder ${dataDir}`);
  if (modelsDir !== undefined && !existsSync(modelsDir)) {
    throw new EspalierError('ESP_CONFIG_INVALID', `modelsDir: there is no folder ${modelsDir}`);
  }
  const identity = readIdentity(dataDir);
  const logger = pino({ level: logLevel });
  const { BullMqProcessor, RedisLink } = await import('./jobs/bullmq/index.js');
  const link = new RedisLink(redisUrl, (isThere) => {
    if (isThere) logger.info('Redis answers');
    else logger.warn('Redis does not answer; the worker waits for it');
  });
  try {
    await link.waitUntilThere(REDIS_TIMEOUT_MS);
  } catch (thrown) {
    link.close();
    throw thrown;
  }
  const processor = new BullMqProcessor({
    redisUrl,
    identity,
    dataDir,
    ...(modelsDir !== undefined && { modelsDir }),
    kinds: workKinds,
    leaves: modelsDir === undefined ? kindsWithModels : [],
    concurrency,
    isWanted: (taskId) => isWanted(dataDir, jobIdOf(taskId)),
    onError: (error) => logger.warn({ err: error }, 'the worker goes on after an error'),
  });
  if (modelsDir === undefined) {
    logger.info('without --models-dir this worker builds; bulk jobs are left to workers that have models');
  }
  return {
    async close() {
      link.close();
      await processor.close();
    },
  };
}
