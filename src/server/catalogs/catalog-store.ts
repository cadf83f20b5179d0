import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type AttributeSchema, type RuleParams, syncFolder, writeDurably } from '../../static-trie/index.js';

/** A catalog as it is on disk. Its active pointer lives here, so that one rename switches versions. */
export interface CatalogRecord {
  name: string;
  model: { name: string; version: number };
  codebookSizes: number[];
  attributes: AttributeSchema;
  activeVersion: number | null;
  createdAt: string;
}

export interface VersionRecord {
  version: number;
  items: number;
  leaves: number;
  createdAt: string;
}

/** A constraint set's truth: its rule. Bitmaps are derived from it for each catalog version. */
export interface SetRecord {
  name: string;
  version: number;
  rule: string;
  params: RuleParams;
  updatedAt: string;
  /** Counts for the catalog version that the set was last evaluated for; null before the first one. */
  evaluation: { catalogVersion: number; items: number; leaves: number; evaluatedAt: string } | null;
}

/**
 * The data directory:
 *   catalogs/<name>/catalog.json
 *   catalogs/<name>/versions/<n>/version.json, catalog.bin
 *   catalogs/<name>/constraint-sets/<set>.json
 *   uploads/  (what is being received; emptied at start)
 * Every write is durable when it returns.
 */
export class CatalogStore {
  readonly #root: string;
  readonly #uploads: string;

  constructor(dataDir: string) {
    this.#root = join(dataDir, 'catalogs');
    this.#uploads = join(dataDir, 'uploads');
    rmSync(this.#uploads, { recursive: true, force: true });
    mkdirSync(this.#root, { recursive: true });
    mkdirSync(this.#uploads, { recursive: true });
  }

  uploadPath(id: string): string {
    return join(this.#uploads, id);
  }

  catalogFilePath(catalog: string, version: number): string {
    return join(this.#versionFolder(catalog, version), 'catalog.bin');
  }

  listCatalogs(): CatalogRecord[] {
    return readdirSync(this.#root)
      .map((name) => join(this.#root, name, 'catalog.json'))
      .filter((path) => existsSync(path))
      .map((path) => readJson<CatalogRecord>(path));
  }

  putCatalog(record: CatalogRecord): void {
    const folder = join(this.#root, record.name);
    makeFolder(folder);
    writeJson(join(folder, 'catalog.json'), record);
  }

  listVersions(catalog: string): VersionRecord[] {
    const folder = join(this.#root, catalog, 'versions');
    if (!existsSync(folder)) return [];
    return readdirSync(folder)
      .map((version) => join(folder, version, 'version.json'))
      .filter((path) => existsSync(path))
      .map((path) => readJson<VersionRecord>(path))
      .sort((a, b) => a.version - b.version);
  }

  /** The next version's number, with its folder made so that no other upload gets it. */
  reserveVersion(catalog: string): number {
    const folder = join(this.#root, catalog, 'versions');
    makeFolder(folder);
    const taken = readdirSync(folder).map(Number);
    const version = Math.max(0, ...taken) + 1;
    makeFolder(this.#versionFolder(catalog, version));
    return version;
  }

  /** Written after the version's file: a version without its record does not exist. */
  putVersion(catalog: string, record: VersionRecord): void {
    writeJson(join(this.#versionFolder(catalog, record.version), 'version.json'), record);
  }

  listSets(catalog: string): SetRecord[] {
    const folder = this.#setsFolder(catalog);
    if (!existsSync(folder)) return [];
    return readdirSync(folder)
      .filter((file) => file.endsWith('.json'))
      .map((file) => readJson<SetRecord>(join(folder, file)))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  putSet(catalog: string, record: SetRecord): void {
    makeFolder(this.#setsFolder(catalog));
    writeJson(join(this.#setsFolder(catalog), `${record.name}.json`), record);
  }

  #versionFolder(catalog: string, version: number): string {
    return join(this.#root, catalog, 'versions', String(version));
  }

  #setsFolder(catalog: string): string {
    return join(this.#root, catalog, 'constraint-sets');
  }
}

function makeFolder(path: string): void {
  if (existsSync(path)) return;
  mkdirSync(path, { recursive: true });
  syncFolder(join(path, '..'));
}

function writeJson(path: string, value: unknown): void {
  writeDurably(path, [`${JSON.stringify(value, null, 2)}\n`]);
}

function readJson<Type>(path: string): Type {
  return JSON.parse(readFileSync(path, 'utf8')) as Type;
}
