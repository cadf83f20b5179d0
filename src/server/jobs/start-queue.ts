import type { Logger } from 'pino';
import { type Config, redactUrl } from '../config.js';
import { ensureIdentity, readIdentity } from '../data-dir-identity.js';
import { EmbeddedQueue } from './embedded-queue.js';
import { isWanted } from './job-store.js';
import { workKinds } from './work-kinds.js';
import { jobIdOf, type WorkQueue } from './work-queue.js';

/** The queue that the configuration asks for, and what works on it in this process. */
export async function startQueue(
  { dataDir, modelsDir, redisUrl, buildConcurrency: concurrency }: Config,
  logger: Logger,
): Promise<{ queue: WorkQueue; close: () => Promise<void> }> {
  ensureIdentity(dataDir);
  const kinds = workKinds;
  if (redisUrl === undefined) {
    const queue = new EmbeddedQueue({ kinds, dataDir, modelsDir, concurrency });
    return { queue, close: () => queue.close() };
  }
  const identity = readIdentity(dataDir);
  const { BullMqProcessor, BullMqQueue } = await import('./bullmq/index.js');
  const redis = redactUrl(redisUrl);
  const onRedisChange = (isThere: boolean) => {
    if (isThere) logger.info(`Redis at ${redis} answers`);
    else logger.warn(`Redis at ${redis} does not answer; uploads are refused`);
  };
  const queue = new BullMqQueue({ redisUrl, identity, onRedisChange });
  const startProcessor = () =>
    new BullMqProcessor({
      redisUrl,
      identity,
      dataDir,
      modelsDir,
      kinds,
      concurrency,
      isWanted: (taskId) => isWanted(dataDir, jobIdOf(taskId)),
      onError: (error) => logger.warn({ err: error }, 'the builds of this server had an error'),
    });
  const processor = concurrency > 0 ? startProcessor() : undefined;
  return {
    queue,
    async close() {
      await queue.close();
      await processor?.close();
    },
  };
}
