import { copyFileSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CatalogStore } from '../../dist/server/catalogs/catalog-store.js';
import { ChangeLogs } from '../../dist/server/catalogs/change-logs.js';
import { SetEvaluator } from '../../dist/server/catalogs/set-evaluator.js';
import { SetStore } from '../../dist/server/constraint-sets/set-store.js';
import { attributes } from '../../examples/online-retail/retail.js';
import { buildRetailCatalog } from '../helpers/retail.js';

const dataDir = mkdtempSync(join(tmpdir(), 'espalier-sets-'));
const store = new CatalogStore(dataDir);
let evaluator: SetEvaluator;
beforeAll(async () => {
  const path = store.catalogFilePath('retail', 1);
  mkdirSync(dirname(path), { recursive: true });
  copyFileSync((await buildRetailCatalog()).path, path);
  evaluator = new SetEvaluator(store, new SetStore(dataDir, () => {}), new ChangeLogs(store), (error) => {
    throw error;
  });
});
afterAll(() => evaluator.close());

describe('evaluating the sets of a catalog', () => {
  it('evaluates each rule once, whatever its sets are called', async () => {
    const record = { name: 'retail', attributes } as unknown as Parameters<SetEvaluator['evaluateAll']>[0];
    const version = { version: 1 } as Parameters<SetEvaluator['evaluateAll']>[1];
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
    const sets = [set('a', 2), set('bb', 3), set('ccc', 2)];
    const found = await evaluator.evaluateAll(record, version, sets, expect.fail);
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
      record,
      version,
      [set('a', 2), set('ccc', 2, '2026-01-02T00:00:00Z')],
      expect.fail,
    );
    expect(later[1].set).not.toBe(later[0].set);
    expect(later[1].set).toEqual(later[0].set);
  });
});
