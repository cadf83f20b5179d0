import { EspalierError } from '../../errors.js';
import {
  type CatalogRecord,
  type CatalogStore,
  type DamagedVersion,
  lostRecord,
  type VersionRecord,
} from './catalog-store.js';
import { KeyedMutex } from './keyed-mutex.js';
import { namedVersions } from './serving-pairs.js';

/** The catalogs as they are on disk. Changes of one catalog and of its sets run one by one, under `mutex`. */
export class CatalogRecords {
  readonly mutex = new KeyedMutex();
  readonly #store: CatalogStore;
  readonly #catalogs = new Map<string, CatalogRecord>();
  /** Catalogs whose file is damaged. */
  readonly #damaged = new Map<string, EspalierError>();

  constructor(store: CatalogStore) {
    this.#store = store;
    const records = store.listCatalogs((catalog, error) => this.#damaged.set(catalog, error));
    for (const record of records) this.#catalogs.set(record.name, record);
  }

  get damaged(): ReadonlyMap<string, EspalierError> {
    return this.#damaged;
  }

  list(): CatalogRecord[] {
    return [...this.#catalogs.values()];
  }

  /** @throws EspalierError ESP_ARTIFACT_CORRUPT where its file is damaged: it may still be saved by hand. */
  find(catalog: string): CatalogRecord | undefined {
    const error = this.#damaged.get(catalog);
    if (error !== undefined) throw error;
    return this.#catalogs.get(catalog);
  }

  /** @throws EspalierError ESP_CATALOG_NOT_FOUND; ESP_ARTIFACT_CORRUPT where its file is damaged. */
  get(catalog: string): CatalogRecord {
    const record = this.find(catalog);
    if (record !== undefined) return record;
    const found = [...this.#catalogs.keys()].join(', ') || 'none';
    throw new EspalierError('ESP_CATALOG_NOT_FOUND', `there is no catalog ${catalog}; there are: ${found}`, {
      details: [{ field: 'catalog', expected: 'the name of a catalog', found: catalog }],
    });
  }

  /**
   * The catalog that a job or an upload began with.
   * @param id of its record then
   * @throws EspalierError as `get`; ESP_CATALOG_NOT_FOUND, too, where another has its name by now
   */
  same(catalog: string, id: string | undefined): CatalogRecord {
    const record = this.get(catalog);
    if (record.id === id) return record;
    const message = `catalog ${catalog} was deleted meanwhile; the one that has its name now is another`;
    throw new EspalierError('ESP_CATALOG_NOT_FOUND', message);
  }

  /** Ascending, without those that are damaged. */
  versions(catalog: string): VersionRecord[] {
    return this.#store.listVersions(this.get(catalog));
  }

  /** Versions that cannot be used, nor are deleted; ascending. */
  damagedVersions(catalog: string): DamagedVersion[] {
    const lost = namedVersions(this.get(catalog))
      .filter((version) => this.#store.hasLostRecord(catalog, version))
      .map((version) => ({ version, error: lostRecord(catalog, version) }));
    return [...this.#store.damagedVersions(catalog), ...lost].sort((a, b) => a.version - b.version);
  }

  /** @throws EspalierError ESP_VERSION_NOT_FOUND; ESP_ARTIFACT_CORRUPT where its record is damaged or gone */
  version(record: CatalogRecord, version: number): VersionRecord {
    const { name, model, active } = record;
    const found = this.#store.findVersion(name, version);
    if (found !== undefined) return { model, ...found };
    // It is there, whatever has become of its record: it was active, or is.
    const isNamed = namedVersions(record).includes(version) && this.#store.hasLostRecord(name, version);
    if (isNamed || active?.version === version) throw lostRecord(name, version);
    const known =
      this.#store
        .listVersions(record)
        .map((one) => one.version)
        .join(', ') || 'none';
    const message = `catalog ${name} has no version ${version}; it has: ${known}`;
    throw new EspalierError('ESP_VERSION_NOT_FOUND', message, {
      details: [{ field: 'version', expected: `one of ${known}`, found: String(version) }],
    });
  }

  /** undefined where none is active. @throws EspalierError ESP_ARTIFACT_CORRUPT where its record is damaged or gone */
  activeVersion(record: CatalogRecord): VersionRecord | undefined {
    return record.active === null ? undefined : this.version(record, record.active.version);
  }

  /** Durable when it returns. */
  save(record: CatalogRecord): void {
    this.#store.putCatalog(record);
    this.#catalogs.set(record.name, record);
  }

  /** Notes a record that is on disk already. */
  replace(record: CatalogRecord): void {
    this.#catalogs.set(record.name, record);
  }

  /**
   * Deletes a catalog with its versions and sets; durable when it returns.
   * @throws EspalierError ESP_WRITE_FAILED; `find` has it then, unless it is gone all the same
   */
  delete(catalog: string): void {
    try {
      this.#store.deleteCatalog(catalog);
    } finally {
      if (!this.#store.hasCatalog(catalog)) this.#catalogs.delete(catalog);
    }
  }
}
