import { join } from 'node:path';
import { ProcessClient } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { WorkContext, WorkFunction, WorkResult } from '../jobs/work-queue.js';
import type { BuildEvent, BuildHandlers, BuildInput, ListInput, RebuildInput } from './build-worker.js';

const WORKER = new URL('./build-worker.js', import.meta.url);

/** Builds a catalog version's file from an upload. */
export const buildCatalog: WorkFunction = (payload, context) => {
  const input = payload as unknown as BuildInput;
  const at = inside(context);
  return inBuildProcess(context, (child) =>
    child.call('build', { ...input, files: input.files.map(at.file), path: at.path(input.path) }),
  );
};

/** Builds a catalog version's file from another version, its small changes, and new items. */
export const rebuildCatalog: WorkFunction = (payload, context) => {
  const input = payload as unknown as RebuildInput;
  const { path } = inside(context);
  const { base, changes, adds } = input;
  return inBuildProcess(context, (child) =>
    child.call('rebuild', {
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
  return inBuildProcess(context, (child) =>
    child.call('readList', { ...input, files: input.files.map(at.file), path: at.path(input.path) }),
  );
};

/** Where this process has the data directory. */
function inside({ dataDir }: WorkContext) {
  const path = (relative: string) => join(dataDir, relative);
  return { path, file: <File extends { path: string }>(file: File) => ({ ...file, path: path(file.path) }) };
}

/**
 * In a process of its own: the memory that parsing takes is given back with it, its runtime's own threads are as nice as
 * the rest, and where it takes too much memory nobody else goes along.
 */
async function inBuildProcess(
  { onProgress, signal }: WorkContext,
  work: (child: ProcessClient<BuildHandlers>) => Promise<object>,
): Promise<WorkResult> {
  const onEvent = (event: unknown) => {
    const { phase, fraction } = event as BuildEvent;
    onProgress(phase, fraction);
  };
  let death: string | undefined;
  const onFailure = ({ message }: EspalierError) => {
    death = message;
  };
  const child = new ProcessClient<BuildHandlers>(WORKER, null, onFailure, onEvent);
  // It may have ended on its own meanwhile.
  const cancel = () => void child.call('cancel').catch(() => {});
  signal.addEventListener('abort', cancel, { once: true });
  try {
    if (signal.aborted) cancel();
    return { ...(await work(child)) };
  } catch (cause) {
    if (death === undefined) throw cause;
    const message = `the build did not end by itself, most likely for want of memory: ${death}`;
    throw new EspalierError('ESP_MEMORY', message, { cause });
  } finally {
    signal.removeEventListener('abort', cancel);
    await child.close();
  }
}
