import { join } from 'node:path';
import { ThreadClient } from '../../decoder/index.js';
import type { Payload, WorkContext } from '../jobs/work-queue.js';
import type { BuildCounts, BuildEvent, BuildHandlers, BuildInput } from './build-worker.js';

const WORKER = new URL('./build-worker.js', import.meta.url);

/** Builds a catalog version's file, on a thread of its own: the memory that parsing takes is given back with it. */
export async function buildCatalog(
  payload: Payload,
  { dataDir, onProgress, signal }: WorkContext,
): Promise<BuildCounts> {
  const { upload, path, ...input } = payload as unknown as BuildInput;
  const onEvent = (event: unknown) => {
    const { phase, fraction } = event as BuildEvent;
    onProgress(phase, fraction);
  };
  const thread = new ThreadClient<BuildHandlers>(WORKER, undefined, () => {}, onEvent);
  // It may have ended on its own meanwhile.
  const cancel = () => void thread.call('cancel').catch(() => {});
  signal.addEventListener('abort', cancel, { once: true });
  try {
    if (signal.aborted) cancel();
    return await thread.call('build', {
      ...input,
      upload: { ...upload, path: join(dataDir, upload.path) },
      path: join(dataDir, path),
    });
  } finally {
    signal.removeEventListener('abort', cancel);
    await thread.close();
  }
}
