import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CatalogRecords } from '../../dist/server/catalogs/catalog-records.js';
import { CatalogStore } from '../../dist/server/catalogs/catalog-store.js';
import { ChangeLogs } from '../../dist/server/catalogs/change-logs.js';
import { EvaluatedLists } from '../../dist/server/catalogs/evaluated-lists.js';
import { SetEvaluator, type SetInForce } from '../../dist/server/catalogs/set-evaluator.js';
import { SetStore } from '../../dist/server/constraint-sets/set-store.js';
import { attributes } from '../../examples/online-retail/retail.js';
import { openCatalogFile } from '../../src/static-trie/index.js';
import { listTruth } from '../helpers/list-truth.js';
import { nicenesses } from '../helpers/nicenesses.js';
import { buildRetailCatalog } from '../helpers/retail.js';

const dataDir = mkdtempSync(join(tmpdir(), 'espalier-sets-'));
const store = new CatalogStore(dataDir).prepare();
store.putCatalog({ name: 'retail', model: { name: 'none', version: 1 }, active: null, earlier: [] } as never);
const records = new CatalogRecords(store);
const sets = new SetStore(dataDir, () => {});
const changes = new ChangeLogs(store, records);
const catalog = { name: 'retail', attributes } as unknown as Parameters<SetEvaluator['evaluateAll']>[0];
const catalogVersion = { version: 1, items: 3_145 } as Parameters<SetEvaluator['evaluateAll']>[1];
let evaluator: SetEvaluator;
/** Of an item that the list has, and of one that it does not. */
let ids: string[];
beforeAll(async () => {
  const path = store.catalogFilePath('retail', 1);
  mkdirSync(dirname(path), { recursive: true });
  copyFileSync((await buildRetailCatalog()).path, path);
  const version = openCatalogFile(path);
  ids = [version.ids.at(0), version.ids.at(1)];
  evaluator = new SetEvaluator(store, sets, changes, (error) => {
    throw error;
  });
});
afterAll(() => evaluator.close());

describe.each([0, 1e6])('verifying a version, those of %d items and more apart', (apartFromItems) => {
  let evaluator: SetEvaluator;
  beforeAll(() => {
    const fail = (error: Error) => {
      throw error;
    };
    evaluator = new SetEvaluator(store, sets, changes, fail, apartFromItems);
  });
  afterAll(() => evaluator.close());

  it.runIf(process.platform === 'linux')('is done by a nice thread where there is much to read', async () => {
    await evaluator.verify(catalog, catalogVersion);
    const nice = nicenesses(process.pid).filter((niceness) => niceness === 10);
    expect(nice).toHaveLength(apartFromItems === 0 ? 1 : 0);
  });

  it('is believed by rules, both ways', async () => {
    const path = store.catalogFilePath('retail', 2);
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(store.catalogFilePath('retail', 1), path);
    const version = { ...catalogVersion, version: 2 };
    const preview = () => evaluator.preview(catalog, version, 'price < 2.0', {});
    await evaluator.verify(catalog, version);
    const { items } = await preview();
    expect(items).toBeGreaterThan(0);
    const damaged = readFileSync(path);
    damaged[damaged.length - 1] ^= 1;
    // Another file of the same name: the one that is open stays as it is.
    rmSync(path);
    writeFileSync(path, damaged);
    const corrupt = { code: 'ESP_ARTIFACT_CORRUPT' };
    await expect(evaluator.verify(catalog, version)).rejects.toMatchObject(corrupt);
    await expect(preview()).rejects.toMatchObject(corrupt);
    copyFileSync(store.catalogFilePath('retail', 1), path);
    await evaluator.verify(catalog, version);
    expect((await preview()).items).toBe(items);
  });
});

describe('evaluating the sets of a catalog', () => {
  it('evaluates each rule once, whatever its sets are called', async () => {
    const set = (name: string, max: number, evaluatedAt = '2026-01-01T00:00:00Z') => ({
      name,
      evaluatedAt,
      version: {
        version: name.length,
        truth: { kind: 'rule' as const, rule: 'price < params.max', params: { max } },
        refresh: null,
        hash: '',
        createdAt: evaluatedAt,
        createdBy: null,
      },
    });
    const rules = [set('a', 2), set('bb', 3), set('ccc', 2)];
    const found = await evaluator.evaluateAll(catalog, catalogVersion, rules, expect.fail);
    expect(found.map(({ name, version }) => [name, version])).toEqual([
      ['a', 1],
      ['bb', 2],
      ['ccc', 3],
    ]);
    const [two, three, alsoTwo] = found.map((snapshot) => snapshot.set);
    expect(alsoTwo).toBe(two);
    expect(three.itemCount).toBeGreaterThan(two.itemCount);
    // At another time a rule may allow other items.
    const later = await evaluator.evaluateAll(
      catalog,
      catalogVersion,
      [set('a', 2), set('ccc', 2, '2026-01-02T00:00:00Z')],
      expect.fail,
    );
    expect(later[1].set).not.toBe(later[0].set);
    expect(later[1].set).toEqual(later[0].set);
  });
});

describe('what a listed set says of an item', () => {
  const at = '2026-01-01T00:00:00Z';
  let listed: SetInForce;
  const verdicts = async () => {
    const views = await Promise.all(
      ids.map((id) => evaluator.viewItem(catalog, catalogVersion, id, [listed])),
    );
    return views.map((view) => view!.sets[0]);
  };
  const verdict = (allowed: boolean, reason: string) => ({ name: 'picked', version: 1, allowed, reason });

  beforeAll(() => {
    const { path, hash } = listTruth([ids[0], 'nobody']);
    const target = sets.listPath('retail', 'picked', 1);
    mkdirSync(dirname(target), { recursive: true });
    copyFileSync(path, target);
    const truth = { kind: 'items' as const, count: 2 };
    const version = { version: 1, truth, refresh: null, hash, createdAt: at, createdBy: null };
    listed = { name: 'picked', version, evaluatedAt: at };
  });

  it('is read from its list where it was not evaluated, and otherwise is what it came to', async () => {
    const expected = [verdict(true, 'listed'), verdict(false, 'not listed')];
    expect(await verdicts()).toEqual(expected);
    await evaluator.evaluate(catalog, catalogVersion, listed);
    rmSync(sets.listPath('retail', 'picked', 1));
    expect(await verdicts()).toEqual(expected);
    changes.of('retail').append({ at, remove: [ids[0]], update: [{ id: ids[1], attributes: { price: 1 } }] });
    expect(await verdicts()).toEqual([verdict(false, 'removed'), verdict(false, 'not listed')]);
  });

  it('is read again when the version is verified: its file may be another', async () => {
    await evaluator.verify(catalog, catalogVersion);
    await expect(verdicts()).rejects.toMatchObject({ code: 'ESP_ARTIFACT_CORRUPT' });
  });
});

describe('what lists came to', () => {
  const set = (byteLength: number) => {
    const [empty, bits] = [0, byteLength / 4].map((words) => new Uint32Array(words));
    const live = { leafBits: bits, rootMask: empty, nodeBits: empty };
    return { live, sharedItemBits: empty, itemCount: 0, leafCount: 0 };
  };

  it('is kept within a bound, the latest evaluations first, and for each catalog version', () => {
    const lists = new EvaluatedLists(1_000);
    const [a, b, c] = [set(400), set(400), set(600)];
    lists.keep('v1', 'a', a);
    lists.keep('v2', 'a', b);
    expect([lists.find('v1', 'a'), lists.find('v2', 'a')]).toEqual([a, b]);
    expect([lists.find('v1', 'b'), lists.find('v3', 'a')]).toEqual([undefined, undefined]);
    lists.keep('v2', 'a', b);
    expect(lists.find('v1', 'a')).toBe(a);
    lists.keep('v1', 'c', c);
    expect(lists.find('v1', 'a')).toBeUndefined();
    expect(lists.find('v2', 'a')).toBe(b);
    lists.keep('v1', 'too large', set(2_000));
    expect(['c', 'too large'].map((hash) => lists.find('v1', hash))).toEqual([undefined, undefined]);
  });

  it('is forgotten with its catalog version', () => {
    const lists = new EvaluatedLists(1_000);
    lists.keep('v1', 'a', set(400));
    lists.keep('v2', 'a', set(400));
    lists.forget('v1');
    expect([lists.find('v1', 'a'), lists.find('v2', 'a')]).toEqual([undefined, set(400)]);
    lists.keep('v2', 'b', set(600));
    expect(lists.find('v2', 'a')).toEqual(set(400));
  });
});
