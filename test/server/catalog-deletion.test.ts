import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CatalogRecords } from '../../src/server/catalogs/catalog-records.js';
import { CatalogService, type CatalogServiceDeps } from '../../src/server/catalogs/catalog-service.js';
import { CatalogStore } from '../../src/server/catalogs/catalog-store.js';
import { whileRefused } from '../helpers/failing-fs.js';

const dataDir = mkdtempSync(join(tmpdir(), 'espalier-deletion-'));
afterAll(() => rmSync(dataDir, { recursive: true }));
const folder = join(dataDir, 'catalogs/small');

/** A catalog on disk, and what its deletion has told the engine. */
function smallCatalog() {
  const store = new CatalogStore(dataDir).prepare();
  mkdirSync(join(dataDir, 'trash'));
  store.putCatalog({
    name: 'small',
    model: { name: 'table', version: 1 },
    codebookSizes: [2, 3],
    attributes: {},
    active: null,
    earlier: [],
    createdAt: '2026-01-01T00:00:00.000Z',
  });
  const records = new CatalogRecords(store);
  const removed: string[] = [];
  const nothing = () => {};
  const deps = {
    store,
    records,
    sets: { forget: nothing },
    aliases: { namesOf: () => [] },
    changes: { forget: nothing },
    activator: { forget: nothing },
    registry: { releaseUnused: nothing },
    engine: { removeCatalog: (catalog: string) => removed.push(catalog) },
    jobs: { define: nothing, unfinishedOf: () => [] },
  };
  const service = new CatalogService(deps as unknown as CatalogServiceDeps);
  return { records, removed, drop: () => service.delete('small', { by: null }) };
}

describe('the deletion of a catalog', () => {
  it('is told as failed where it is not durable, but nothing serves that is not on disk', async () => {
    const { records, removed, drop } = smallCatalog();
    const error = await whileRefused('sync', drop).catch((thrown) => thrown);
    expect(error).toMatchObject({
      code: 'ESP_WRITE_FAILED',
      message: expect.stringMatching(/^small cannot be made durable: .*; it is changed, but a power cut/),
    });
    expect([existsSync(folder), records.find('small'), removed]).toEqual([false, undefined, ['small']]);
  });

  it('is done where its files stay in the trash, which the next start empties', async () => {
    const { records, removed, drop } = smallCatalog();
    await whileRefused('removal', drop);
    expect([existsSync(folder), records.find('small'), removed]).toEqual([false, undefined, ['small']]);
    new CatalogStore(dataDir).prepare();
    expect(existsSync(join(dataDir, 'trash'))).toBe(false);
  });
});
