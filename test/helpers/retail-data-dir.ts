import { createHash } from 'node:crypto';
import { appendFileSync, copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CatalogStore } from '../../dist/server/catalogs/catalog-store.js';
import { hashOfRule } from '../../dist/server/constraint-sets/set-record.js';
import { SetStore } from '../../dist/server/constraint-sets/set-store.js';
import { attributes } from '../../examples/online-retail/retail.js';
import { type CatalogChange, ChangeLog } from '../../src/static-trie/index.js';

const ACTIVATED_AT = '2026-01-01T00:00:00.000Z';

export interface RetailDataDir {
  dataDir: string;
  /** The catalog's file. */
  file: string;
  /** Of what its sets say. */
  rules: Readonly<Record<string, string>>;
  /** Ids; none: no listed set. */
  listed?: readonly string[];
  changes?: readonly Omit<CatalogChange, 'seq'>[];
}

/** A data directory as a server leaves it that serves the retail catalog; its last change is still being written. */
export function writeRetailDataDir({ dataDir, file, rules, listed, changes = [] }: RetailDataDir): void {
  const model = { name: 'retail-logits', version: 1 };
  const store = new CatalogStore(dataDir).prepare();
  const sets = new SetStore(dataDir, () => {});
  store.putCatalog({
    name: 'retail',
    model,
    codebookSizes: [256, 256, 256],
    attributes,
    active: { version: 1, model, activatedAt: ACTIVATED_AT },
    earlier: [],
    createdAt: ACTIVATED_AT,
  });
  const path = store.catalogFilePath('retail', 1);
  mkdirSync(dirname(path), { recursive: true });
  copyFileSync(file, path);
  store.putVersion('retail', { version: 1, model, items: 3145, leaves: 3145, createdAt: ACTIVATED_AT });
  const put = (name: string, truth: object, hash: string) =>
    sets.put('retail', {
      name,
      active: 1,
      activatedAt: ACTIVATED_AT,
      earlier: [],
      versions: [
        { version: 1, truth, refresh: null, hash, createdAt: ACTIVATED_AT, createdBy: null },
      ] as never,
      lastVersion: 1,
      createdAt: ACTIVATED_AT,
    });
  for (const [name, rule] of Object.entries(rules))
    put(name, { kind: 'rule', rule, params: {} }, hashOfRule(rule, {}));
  if (listed !== undefined) {
    const text = listed.map((id) => `${JSON.stringify(id)}\n`).join('');
    writeFileSync(sets.listPath('retail', 'listed', 1), text);
    put('listed', { kind: 'items', count: listed.length }, createHash('sha256').update(text).digest('hex'));
  }
  if (changes.length === 0) return;
  const log = ChangeLog.open(store.changesPath('retail'));
  for (const change of changes) log.append(change);
  appendFileSync(store.changesPath('retail'), '0123abcd {"seq":');
}

/** What every file of a folder has in it. */
export function contentOf(folder: string): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => {
      const path = join(parentPath, name);
      return [path, createHash('sha256').update(readFileSync(path)).digest('hex')];
    }),
  );
}
