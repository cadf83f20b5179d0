import { join } from 'node:path';
import { ThreadClient } from '../../decoder/index.js';
import type { WorkContext, WorkFunction, WorkResult } from '../jobs/work-queue.js';
import type { BuildEvent, BuildHandlers, BuildInput, ListInput, RebuildInput } from './build-worker.js';

const WORKER = new URL('./build-worker.js', import.meta.url);

/** Builds a catalog version's file from an upload. */
export const buildCatalog: WorkFunction = (payload, context) => {
  const input = payload as unknown as BuildInput;
  const at = inside(context);
  return onBuildThread(context, (thread) =>
    thread.call('build', { ...input, files: input.files.map(at.file), path: at.path(input.path) }),
  );
};

/** Builds a catalog version's file from another version, its small changes, and new items. */
export const rebuildCatalog: WorkFunction = (payload, context) => {
  const input = payload as unknown as RebuildInput;
  const { path } = inside(context);
  const { base, changes, adds } = input;
  return onBuildThread(context, (thread) =>
    thread.call('rebuild', {
      ...input,
      base: path(base),
      changes: { ...changes, path: path(changes.path) },
      adds: path(adds),
      path: path(input.path),
    }),
  );
};

/** Reads the list of a constraint set from an upload. */
export const readList: WorkFunction = (payload, context) => {
  const input = payload as unknown as ListInput;
  const at = inside(context);
  return onBuildThread(context, (thread) =>
    thread.call('readList', { ...input, files: input.files.map(at.file), path: at.path(input.path) }),
  );
};

/** Where this process has the data directory. */
function inside({ dataDir }: WorkContext) {
  const path = (relative: string) => join(dataDir, relative);
  return { path, file: <File extends { path: string }>(file: File) => ({ ...file, path: path(file.path) }) };
}

/** On a thread of its own: the memory that parsing takes is given back with it. */
async function onBuildThread(
  { onProgress, signal }: WorkContext,
  work: (thread: ThreadClient<BuildHandlers>) => Promise<object>,
): Promise<WorkResult> {
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
    return { ...(await work(thread)) };
  } finally {
    signal.removeEventListener('abort', cancel);
    await thread.close();
  }
}
