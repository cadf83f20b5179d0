import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { attributes } from '../../examples/online-retail/retail.js';
import { type CatalogVersion, readItems, writeCatalogFile } from '../../src/static-trie/index.js';

const example = new URL('../../examples/online-retail/', import.meta.url);

export const modelsDir = new URL('models', example).pathname;

export function modelFolder(name: string): string {
  return new URL(`models/${name}/1`, example).pathname;
}

export interface GoldenCase {
  history: string[];
  allowed: { set: string; rule: string; items: number } | null;
  excludeHistory: boolean;
  items: { id: string; score: number }[];
}

/** Beams that PyTorch made with the bundled model. */
export function readGoldenBeams(): {
  beamWidth: number;
  k: number;
  params: Record<string, string>;
  cases: GoldenCase[];
} {
  return JSON.parse(readFileSync(new URL('data/golden-beams.json', example), 'utf8'));
}

/** The bundled catalog, built from its items and written to a file. */
export async function buildRetailCatalog(): Promise<{ version: CatalogVersion; path: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-retail-'));
  const upload = join(folder, 'items.ndjson');
  writeFileSync(upload, gunzipSync(readFileSync(new URL('data/items.ndjson.gz', example))));
  const manifest = JSON.parse(readFileSync(join(modelFolder('retail'), 'model.json'), 'utf8'));
  const version = await readItems(upload, attributes, manifest.sid.codebookSizes);
  const path = join(folder, 'catalog.bin');
  writeCatalogFile(path, version);
  return { version, path };
}
