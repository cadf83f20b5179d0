import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CatalogActivation } from '../../src/decoder/activation.js';
import { readItems, writeCatalogFile } from '../../src/static-trie/index.js';

/** What a catalog of the small models' six SIDs is activated with; items `0-0` to `1-2`, at prices from 0 to 5. */
export async function smallActivation(folder: string): Promise<CatalogActivation> {
  const upload = join(mkdtempSync(join(tmpdir(), 'espalier-small-')), 'items.ndjson');
  const lines = [0, 1].flatMap((a) =>
    [0, 1, 2].map((b) => JSON.stringify({ id: `${a}-${b}`, sid: [a, b], price: a * 3 + b })),
  );
  writeFileSync(upload, lines.join('\n'));
  const path = `${upload}.bin`;
  writeCatalogFile(path, await readItems(upload, { price: { type: 'double' } }, [2, 3]));
  const model = { name: 'small', version: 1, folder };
  return { catalog: 'small', version: 1, path, model, sets: [], changes: null };
}
