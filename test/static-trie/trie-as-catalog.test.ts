import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import {
  buildTrie,
  catalogOfTrie,
  openCatalogFile,
  verifyCatalogFile,
  writeCatalogFile,
} from '../../src/static-trie/index.js';

it('makes a sound catalog of a trie, with one item a leaf that is called by its SID', async () => {
  const codes = Uint32Array.from([1, 0, 99_999, 0, 10, 100_000, 1, 0, 99_999, 0, 9, 7]);
  const { trie } = await buildTrie({ codebookSizes: [2, 11, 100_001], rowCount: 4, codes });
  const path = join(mkdtempSync(join(tmpdir(), 'espalier-trie-catalog-')), 'catalog.bin');
  writeCatalogFile(path, catalogOfTrie(trie));
  verifyCatalogFile(path);
  const { ids, leafItems, table } = openCatalogFile(path);
  expect([...ids.strings]).toEqual(['0-9-7', '0-10-100000', '1-0-99999']);
  expect(['0-9-7', '0-10-100000', '1-0-99999', '1-0-9999'].map((id) => ids.find(id))).toEqual([0, 1, 2, -1]);
  expect(leafItems.itemCount).toBe(3);
  expect(table.columns.size).toBe(0);
});
