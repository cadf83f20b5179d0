import { createHash } from 'node:crypto';
import { createReadStream, readFileSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { type ActivationChanges, serveProcess, tellParentProcess } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import {
  type AttributeSchema,
  CatalogSnapshot,
  type CatalogVersion,
  ChangeReader,
  changedAdds,
  checkItem,
  Faults,
  type ItemFile,
  openCatalogFile,
  type ParsedItem,
  readItems,
  readSetList,
  rebuildVersion,
  type SetList,
  writeCatalogFile,
} from '../../static-trie/index.js';

import { becomeNice } from '../jobs/niceness.js';
import type { WorkEvent } from '../jobs/work-process.js';

/** The build process: parses uploads and builds their tries, behind whatever answers requests. */

/** What the work of a build needs. Paths are relative to the data directory. */
export interface BuildInput {
  files: ItemFile[];
  /** What they may unpack to, together. */
  maxBytes: number;
  /** Where the catalog version's file goes. */
  path: string;
  schema: AttributeSchema;
  codebookSizes: number[];
}

export interface RebuildInput {
  /** The file of the version whose items are taken over. */
  base: string;
  /** The small changes that are not in it, up to the last that the new version is to have. */
  changes: ActivationChanges;
  /** A file of one JSON array: the new items. */
  adds: string;
  /** The last small change before them; those after it apply to them, too. Absent where that is not known: none does. */
  addedAfter?: number;
  /** Where the catalog version's file goes. */
  path: string;
  schema: AttributeSchema;
}

export interface ListInput {
  files: ItemFile[];
  /** What they may unpack to, together. */
  maxBytes: number;
  /** Where the list goes. */
  path: string;
  codebookSizes: number[];
}

/** `hash`: SHA-256 of the version's file. */
export type BuildCounts = { items: number; leaves: number; hash: string };

const cancelled = new AbortController();

const { signal } = cancelled;
const onProgress = (phase: string, fraction: number) =>
  tellParentProcess({ phase, fraction } satisfies WorkEvent);

const handlers = {
  async build({ files, schema, codebookSizes, maxBytes, path }: BuildInput): Promise<BuildCounts> {
    onProgress('parsing', 0);
    return write(path, await readItems(files, schema, codebookSizes, { onProgress, maxBytes, signal }));
  },

  async rebuild({ base, changes, adds, schema, path, ...input }: RebuildInput): Promise<BuildCounts> {
    onProgress('copying', 0);
    const { addedAfter = changes.upTo } = input;
    const version = openCatalogFile(base);
    const { codebookSizes } = version.trie;
    const log = new ChangeReader(changes.path, Math.min(changes.after, addedAfter));
    const all = log.catchUp(changes.upTo);
    const { snapshot } = CatalogSnapshot.of(version, schema, changes.after).withChanges(all);
    const later = all.filter(({ seq }) => seq > addedAfter);
    const items = (JSON.parse(readFileSync(adds, 'utf8')) as unknown[]).map((item) =>
      checkedItem(item, schema, codebookSizes),
    );
    return write(
      path,
      await rebuildVersion(snapshot, changedAdds(items, later, schema), { onProgress, signal }),
    );
  },

  readList({ files, codebookSizes, maxBytes, path }: ListInput): Promise<SetList> {
    onProgress('parsing', 0);
    return readSetList(files, path, { codebookSizes, maxBytes, onProgress, signal });
  },

  cancel(): void {
    cancelled.abort();
  },
};
export type BuildHandlers = typeof handlers;

async function write(path: string, version: CatalogVersion): Promise<BuildCounts> {
  if (signal.aborted) throw new EspalierError('ESP_CANCELLED', 'the build was cancelled');
  onProgress('writing', 0);
  writeCatalogFile(path, version);
  onProgress('hashing', 0);
  const hash = await hashOfFile(path);
  return { items: version.leafItems.itemCount, leaves: version.trie.leafCount, hash };
}

/** Of an item that was checked when it came: only another schema can make it bad. */
function checkedItem(json: unknown, schema: AttributeSchema, codebookSizes: readonly number[]): ParsedItem {
  const item = checkItem(json, schema, codebookSizes);
  if (!(item instanceof Faults)) return item;
  const [{ field, expected, found }] = item.told;
  throw new EspalierError('ESP_UPLOAD_INVALID', `${field}: expected ${expected}, found ${found}`, {
    details: [...item.told],
  });
}

async function hashOfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  return hash.digest('hex');
}

becomeNice();
serveProcess(handlers, async () => {}, ['cancel']);
