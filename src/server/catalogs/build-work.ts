import { join } from 'node:path';
import type { ProcessClient } from '../../decoder/index.js';
import { inWorkProcess } from '../jobs/work-process.js';
import type { WorkContext, WorkFunction, WorkResult } from '../jobs/work-queue.js';
import type { BuildHandlers, BuildInput, ListInput, RebuildInput } from './build-worker.js';

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

function inBuildProcess(
  context: WorkContext,
  work: (child: ProcessClient<BuildHandlers>) => Promise<object>,
): Promise<WorkResult> {
  return inWorkProcess(WORKER, context, work);
}
