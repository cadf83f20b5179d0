import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';
import { serveThread, tellParent } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { type AttributeSchema, type ItemFile, readItems, writeCatalogFile } from '../../static-trie/index.js';

/** The build thread: parses one upload and builds its trie, behind whatever answers requests. */

/** What the work of a build needs. Paths are relative to the data directory. */
export interface BuildInput {
  upload: ItemFile;
  /** What it may unpack to. */
  maxBytes: number;
  /** Where the catalog version's file goes. */
  path: string;
  schema: AttributeSchema;
  codebookSizes: number[];
}

export type BuildCounts = { items: number; leaves: number };

export interface BuildEvent {
  phase: string;
  fraction: number;
}

/** Nice enough that the scheduler prefers the threads that answer, and not starved where there are idle cores. */
const NICENESS = 10;

const cancelled = new AbortController();

const handlers = {
  async build({ upload, schema, codebookSizes, maxBytes, path }: BuildInput): Promise<BuildCounts> {
    const { signal } = cancelled;
    const progress = (phase: string, fraction: number) =>
      tellParent(parentPort!, { phase, fraction } satisfies BuildEvent);
    progress('parsing', 0);
    const version = await readItems(upload, schema, codebookSizes, progress, maxBytes, signal);
    if (signal.aborted) throw new EspalierError('ESP_CANCELLED', 'the build was cancelled');
    progress('writing', 0);
    writeCatalogFile(path, version);
    return { items: version.leafItems.itemCount, leaves: version.trie.leafCount };
  },

  cancel(): void {
    cancelled.abort();
  },
};
export type BuildHandlers = typeof handlers;

// On Linux a priority belongs to a thread, and 0 is the calling one; elsewhere it would be the whole server's.
if (process.platform === 'linux') setPriority(0, NICENESS);
serveThread(parentPort!, handlers, async () => {}, ['cancel']);
