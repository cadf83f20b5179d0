import { statSync } from 'node:fs';
import type { CatalogFacts } from '../metrics/index.js';
import type { CatalogRecords } from './catalog-records.js';
import type { CatalogStore } from './catalog-store.js';

type Size = Pick<CatalogFacts, 'version' | 'items' | 'leaves' | 'bytes'>;

/** What is to be known of the versions that are active. Sizes are read from disk once for each. */
export class CatalogFactsReader {
  readonly #store: CatalogStore;
  readonly #records: CatalogRecords;
  readonly #sizes = new Map<string, Size>();

  constructor(store: CatalogStore, records: CatalogRecords) {
    this.#store = store;
    this.#records = records;
  }

  read(): CatalogFacts[] {
    const records = this.#records.list();
    const names = new Set(records.map(({ name }) => name));
    for (const name of this.#sizes.keys()) if (!names.has(name)) this.#sizes.delete(name);
    return records.flatMap(({ name, active }) => {
      const size = active === null ? undefined : this.#sizeOf(name, active.version);
      if (active === null || size === undefined) return [];
      const ageSeconds = Math.max(0, (Date.now() - Date.parse(active.activatedAt)) / 1_000);
      return [{ catalog: name, ...size, ageSeconds }];
    });
  }

  /** undefined where the version's files are damaged: `/readyz` tells of that. */
  #sizeOf(catalog: string, version: number): Size | undefined {
    const known = this.#sizes.get(catalog);
    if (known?.version === version) return known;
    try {
      const record = this.#store.findVersion(catalog, version);
      if (record === undefined) return undefined;
      const { size: bytes } = statSync(this.#store.catalogFilePath(catalog, version));
      const found = { version, items: record.items, leaves: record.leaves, bytes };
      this.#sizes.set(catalog, found);
      return found;
    } catch {
      return undefined;
    }
  }
}
