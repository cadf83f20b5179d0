import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, describe, expect, it } from 'vitest';
import {
  type AttributeSchema,
  CatalogVersionBuilder,
  openCatalogFile,
  sidOf,
  valueAt,
  verifyCatalogFile,
  writeCatalogFile,
} from '../../src/static-trie/index.js';
import { Random } from '../helpers/random.js';

/** Items; SCALE_ITEMS=20000000 takes the size that the product is made for. */
const ITEM_COUNT = Number(process.env.SCALE_ITEMS ?? 5_000_000);
const MAX_HEAP_GROWTH_BYTES = 4 << 20;

const codebookSizes = [2048, 2048, 2048, 2048];
const schema: AttributeSchema = {
  price: { type: 'double' },
  stock: { type: 'int64' },
  brand: { type: 'string' },
  since: { type: 'timestamp' },
  tags: { type: 'string[]' },
};
const tags = ['new', 'sale', 'garden', 'home', 'gift'];
setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

const folder = mkdtempSync(join(tmpdir(), 'espalier-catalog-scale-'));

/** Item `index`, always the same one, so that nothing needs to be kept to check it. */
function itemOf(index: number) {
  const random = new Random(index);
  // Few prefixes, as in real catalogs, and SIDs that some items share.
  const sid = [random.below(256), random.below(64), random.below(2048), random.below(16)];
  const attributes = [
    random.below(10_000) / 100,
    random.chance(0.1) ? undefined : random.below(500),
    `brand ${random.below(20_000)}`,
    1_700_000_000_000 + random.below(2 ** 30),
    tags.slice(random.below(5), 1 + random.below(5)),
  ];
  return { id: `item-${index}`, sid, attributes };
}

describe.runIf(process.env.LONG_TESTS)('a catalog of millions of items', () => {
  afterAll(() => rmSync(folder, { recursive: true }));

  it('is built, written, verified and opened without an object for each of them', async () => {
    const path = join(folder, 'catalog.bin');
    const builder = new CatalogVersionBuilder(schema, codebookSizes);
    await measured('add', () => {
      for (let index = 0; index < ITEM_COUNT; index++) builder.add(itemOf(index), index + 1);
    });
    expect(builder.add(itemOf(7), ITEM_COUNT + 1)).toBe(8);
    const heapBefore = heapUsed();
    const built = await measured('build', () => builder.build());
    expect(built.leafItems.sharedLeaves.length).toBeGreaterThan(1000);
    expect(heapUsed() - heapBefore).toBeLessThan(MAX_HEAP_GROWTH_BYTES);
    await measured('write', () => writeCatalogFile(path, built));
    await measured('verify', () => verifyCatalogFile(path));
    const heapBeforeOpening = heapUsed();
    const opened = await measured('open', () => openCatalogFile(path));
    expect(heapUsed() - heapBeforeOpening).toBeLessThan(MAX_HEAP_GROWTH_BYTES);
    console.log(`${ITEM_COUNT} items: ${(statSync(path).size / ITEM_COUNT).toFixed(1)} bytes each on disk`);
    await measured('read 100,000 items', () => {
      const random = new Random(1);
      for (let count = 0; count < 100_000; count++) expectItem(opened, itemOf(random.below(ITEM_COUNT)));
    });
    expect(opened.ids.find(`item-${ITEM_COUNT}`)).toBe(-1);
  });
});

/** Without vitest's `expect` for each value, which would take most of the time. */
function expectItem(version: ReturnType<typeof openCatalogFile>, expected: ReturnType<typeof itemOf>): void {
  const item = version.ids.find(expected.id);
  const found = {
    id: version.ids.at(item),
    sid: [...sidOf(version, item)],
    attributes: Object.keys(schema).map((name) => valueAt(version.table.columns.get(name)!, item)),
  };
  if (JSON.stringify(found) !== JSON.stringify(expected)) expect(found).toEqual(expected);
}

async function measured<Result>(what: string, action: () => Result | Promise<Result>): Promise<Result> {
  const startMs = performance.now();
  const result = await action();
  const tookMs = performance.now() - startMs;
  const { rss, heapUsed: heap, arrayBuffers } = process.memoryUsage();
  const inMiB = (bytes: number) => `${Math.round(bytes / 2 ** 20)} MiB`;
  console.log(
    `${what}: ${Math.round(tookMs)} ms; rss ${inMiB(rss)}, heap ${inMiB(heap)}, arrays ${inMiB(arrayBuffers)}`,
  );
  return result;
}

function heapUsed(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}
