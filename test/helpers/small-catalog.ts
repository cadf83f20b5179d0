import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ActivationChanges, SetSnapshot } from '../../src/decoder/activation.js';
import { DecodeEngine } from '../../src/decoder/engine.js';
import { setBit, wordsFor } from '../../src/kernels/index.js';
import {
  type AttributeSchema,
  type CatalogVersion,
  constraintSetFromItems,
  openCatalogFile,
  readItems,
  writeCatalogFile,
} from '../../src/static-trie/index.js';
import type { Random } from './random.js';

export interface PlainItem {
  id: string;
  sid: number[];
  genre?: string;
  tags?: string[];
  price?: number;
  since?: string;
}

export const smallSchema: AttributeSchema = {
  genre: { type: 'string' },
  tags: { type: 'string[]' },
  price: { type: 'double' },
  since: { type: 'timestamp' },
};

export const fixtureFolder = (name: string) =>
  new URL(`../fixtures/models/${name}/1`, import.meta.url).pathname;

export function newEngine(prefillCacheBytes = 1 << 24): DecodeEngine {
  return new DecodeEngine({ threads: 1, stepThreads: 1, prefillCacheBytes });
}

/**
 * Items for a model of three codebooks of 256: few prefixes, so that SIDs meet, and ids whose order in code units is
 * that of no alphabet.
 */
export function randomItems(random: Random, count: number): PlainItem[] {
  const used = [6, 4, 4].map((codes) => Array.from({ length: codes }, () => random.below(256)));
  return Array.from({ length: count }, (_, index) => ({
    id: `${random.pick(['a', 'Z', 'ä', '😀', 'ｚ', '0'])}${index}`,
    sid: used.map((codes) => random.pick(codes)),
    ...(random.chance(0.8) && { genre: random.pick(['art', 'book', 'card']) }),
    ...(random.chance(0.9) && {
      tags: Array.from({ length: random.below(4) }, () => random.pick(['x', 'y', 'z'])),
    }),
    ...(random.chance(0.9) && { price: random.pick([1, 2.5, 4, 8]) }),
    ...(random.chance(0.9) && {
      since: random.pick(['2011-01-01T00:00:00.000Z', '2011-06-01T12:00:00.000Z']),
    }),
  }));
}

/** A catalog version of plain items, in a file. */
export async function writeItems(
  items: readonly PlainItem[],
  codebookSizes: readonly number[],
): Promise<{ path: string; version: CatalogVersion }> {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-small-'));
  const upload = join(folder, 'items.ndjson');
  writeFileSync(upload, items.map((item) => JSON.stringify(item)).join('\n'));
  const path = join(folder, 'catalog.bin');
  writeCatalogFile(path, await readItems(upload, smallSchema, codebookSizes));
  return { path, version: openCatalogFile(path) };
}

export function snapshotOf(
  { ids, trie, leafItems }: CatalogVersion,
  name: string,
  members: readonly string[],
  version = 1,
): SetSnapshot {
  const bits = new Uint32Array(wordsFor(leafItems.itemCount));
  for (const id of members) setBit(bits, ids.find(id));
  const set = constraintSetFromItems(trie, leafItems, bits);
  return { name, catalogVersion: 1, version, rule: null, changesUpTo: 0, set, expiresAtMs: null };
}

/** Lets an engine serve a catalog file. */
export async function activate(
  engine: DecodeEngine,
  catalog: string,
  path: string,
  folder: string,
  sets: SetSnapshot[] = [],
  changes: ActivationChanges | null = null,
): Promise<void> {
  const model = { name: folder.split('/').at(-2)!, version: 1, folder };
  await engine.prepareCatalog({ catalog, version: 1, path, model, sets, changes });
  engine.commitCatalog(catalog);
}
