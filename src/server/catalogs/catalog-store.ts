import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import type { ModelInfo } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { type AttributeSchema, isSystemError, orWriteFailure, syncName } from '../../static-trie/index.js';
import { makeFolder, readState, removeTemporaryFiles, writeState } from '../state-file.js';

export interface ModelName {
  name: string;
  version: number;
}

/** A model version, and what it was when it was pinned. */
export interface ModelPin extends ModelName {
  /** Absent where an earlier server wrote the record, and the model could not be opened since. */
  info?: ModelInfo;
}

/** A catalog version and the model version that decodes over it; they serve together. */
export interface ServingPair {
  version: number;
  model: ModelName;
  /** When it was activated; sets were evaluated then, or later when they were put. */
  activatedAt: string;
  activatedBy?: string | null;
}

/** A catalog as it is on disk. Its active pair lives here, so that one rename switches catalog and model. */
export interface CatalogRecord {
  name: string;
  /** Of this catalog alone: not of one of the same name that is made after its deletion. Absent in old records. */
  id?: string;
  /** The model of the versions that are uploaded from now on; their SIDs are this model's. */
  model: ModelPin;
  /** That model's. */
  codebookSizes: number[];
  attributes: AttributeSchema;
  active: ServingPair | null;
  /** What a rollback can bring back, the latest last. */
  earlier: ServingPair[];
  /** Versions that are or were active, whatever rollbacks have left. Absent in old records. */
  activated?: number[];
  /** Small changes were made: where their log is gone, so are they. Absent before the first. */
  hasChangeLog?: true;
  createdAt: string;
  createdBy?: string | null;
}

export interface VersionRecord {
  version: number;
  /** The model that the version's SIDs were made for: the catalog's when its build started. */
  model: ModelPin;
  items: number;
  leaves: number;
  /** SHA-256 of its file; absent in records of earlier servers, as what follows. */
  hash?: string;
  /** The last of the catalog's small changes that is in it, or that it takes the place of. */
  changesAfter?: number;
  createdAt: string;
  createdBy?: string | null;
}

/** A version whose record cannot be read. It is refused, and stays where it is: the record may be restored. */
export interface DamagedVersion {
  version: number;
  error: EspalierError;
}

/**
 * The data directory:
 *   catalogs/<name>/catalog.json
 *   catalogs/<name>/versions/<n>/version.json, catalog.bin
 *   catalogs/<name>/changes.log
 *   catalogs/<name>/constraint-sets/
 *   uploads/  (what was received and is not built yet)
 *   trash/    (what is being deleted; emptied at start)
 * Every write is durable when it returns.
 */
export class CatalogStore {
  readonly #dataDir: string;
  readonly #root: string;
  readonly #uploads: string;
  readonly #trash: string;
  /** By catalog, the numbers of versions whose records could not be read when they were last asked for. */
  readonly #damaged = new Map<string, Set<number>>();

  constructor(dataDir: string) {
    this.#dataDir = dataDir;
    this.#root = join(dataDir, 'catalogs');
    this.#uploads = join(dataDir, 'uploads');
    this.#trash = join(dataDir, 'trash');
  }

  /** For the one who writes; whoever only reads leaves the directory as it is. */
  prepare(): this {
    rmSync(this.#trash, { recursive: true, force: true });
    mkdirSync(this.#root, { recursive: true });
    mkdirSync(this.#uploads, { recursive: true });
    return this;
  }

  uploadPath(id: string): string {
    return join(this.#uploads, id);
  }

  /** The log of a catalog's small changes. */
  changesPath(catalog: string): string {
    return join(this.#root, catalog, 'changes.log');
  }

  catalogFilePath(catalog: string, version: number): string {
    return join(this.#versionFolder(catalog, version), 'catalog.bin');
  }

  /** All catalogs; one whose file is damaged is reported and left out. */
  listCatalogs(onDamage: (catalog: string, error: EspalierError) => void): CatalogRecord[] {
    const records: CatalogRecord[] = [];
    for (const name of readdirSync(this.#root)) {
      const path = join(this.#root, name, 'catalog.json');
      if (!existsSync(path)) continue;
      try {
        records.push(readCatalog(path));
      } catch (thrown) {
        onDamage(name, EspalierError.from(thrown));
      }
    }
    return records;
  }

  /** What the other processes that share the data directory, perhaps mounted elsewhere, call a file of it. */
  relativePath(path: string): string {
    return relative(this.#dataDir, path);
  }

  /** The path of what `relativePath` names. */
  absolutePath(path: string): string {
    return join(this.#dataDir, path);
  }

  /**
   * Removes what interrupted uploads and writes have left behind. A version's file stays, whatever its record is like:
   * whether a record was never written, or is lost, cannot be told.
   * @param unfinished jobs that go on: their uploads and the folders of their versions stay as they are.
   * @param areAllKnown whether there are no others: uploads may be those of a job whose record is damaged
   * @param onDamage told of each version that cannot be used
   */
  clean(
    unfinished: readonly { files?: string[]; catalog?: string; version?: number }[],
    areAllKnown: boolean,
    onDamage: (error: EspalierError) => void,
  ): void {
    removeTemporaryFiles(this.#dataDir);
    const needed = new Set(unfinished.flatMap(({ files = [] }) => files));
    for (const name of areAllKnown ? readdirSync(this.#uploads) : []) {
      const path = join(this.#uploads, name);
      if (!needed.has(this.relativePath(path))) rmSync(path, { recursive: true, force: true });
    }
    const isUnderWay = (catalog: string, version: number) =>
      unfinished.some((job) => job.catalog === catalog && job.version === version);
    for (const catalog of readdirSync(this.#root)) {
      removeTemporaryFiles(join(this.#root, catalog));
      for (const version of this.#versionNumbers(catalog)) {
        if (isUnderWay(catalog, version)) continue;
        removeTemporaryFiles(this.#versionFolder(catalog, version));
        if (this.hasLostRecord(catalog, version)) onDamage(lostRecord(catalog, version));
        this.#findReadable(catalog, version, onDamage);
      }
    }
  }

  /** Whether a version has its file and no record; where a build is putting it in place, that will still come. */
  hasLostRecord(catalog: string, version: number): boolean {
    const hasRecord = existsSync(this.#recordPath(catalog, version));
    return !hasRecord && existsSync(this.catalogFilePath(catalog, version));
  }

  hasCatalog(catalog: string): boolean {
    return existsSync(join(this.#root, catalog));
  }

  putCatalog(record: CatalogRecord): void {
    const folder = join(this.#root, record.name);
    makeFolder(folder);
    writeState(join(folder, 'catalog.json'), record);
  }

  /**
   * Ascending, without those that are damaged. A version that an earlier server wrote is pinned to the catalog's model.
   */
  listVersions({ name, model }: Pick<CatalogRecord, 'name' | 'model'>): VersionRecord[] {
    return this.#versionNumbers(name)
      .map((version) => this.#findReadable(name, version))
      .filter((record) => record !== undefined)
      .map((record) => ({ model, ...record }));
  }

  /** Ascending; those that were come upon. Each is looked at again: a record that was restored counts from then on. */
  damagedVersions(catalog: string): DamagedVersion[] {
    const damaged: DamagedVersion[] = [];
    for (const version of [...(this.#damaged.get(catalog) ?? [])].sort((a, b) => a - b)) {
      this.#findReadable(catalog, version, (error) => damaged.push({ version, error }));
    }
    return damaged;
  }

  /** The next version's number, with its folder made so that no other upload ever gets it. */
  reserveVersion(catalog: string): number {
    const version = (this.#versionNumbers(catalog).at(-1) ?? 0) + 1;
    makeFolder(join(this.#root, catalog, 'versions'));
    makeFolder(this.#versionFolder(catalog, version));
    return version;
  }

  /**
   * Empties the folder of a version that came to nothing; the number stays taken.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT on a version whose record is damaged, which stays
   */
  clearVersion(catalog: string, version: number): void {
    const folder = this.#versionFolder(catalog, version);
    if (!existsSync(folder)) return;
    this.findVersion(catalog, version);
    // First of all: a version with a record has its file.
    rmSync(this.#recordPath(catalog, version), { force: true });
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
  }

  /** @throws EspalierError ESP_ARTIFACT_CORRUPT where its record is damaged */
  findVersion(catalog: string, version: number): Omit<VersionRecord, 'model'> | undefined {
    const path = this.#recordPath(catalog, version);
    if (!existsSync(path)) return undefined;
    try {
      const record = readState<VersionRecord>(path, (json) => isRecordOf(version, json));
      this.#damaged.get(catalog)?.delete(version);
      return record;
    } catch (cause) {
      this.#damaged.set(catalog, (this.#damaged.get(catalog) ?? new Set()).add(version));
      const { code, message } = EspalierError.from(cause);
      const what = `version ${version} of catalog ${catalog} is damaged`;
      throw new EspalierError(code, `${what}: ${message}`, { cause });
    }
  }

  /**
   * Gives a version a file that was built beside it, unless it has it already; what interrupted builds have left there
   * goes.
   * @param path relative to the data directory
   */
  takeCatalogFile(path: string, catalog: string, version: number): void {
    const target = this.catalogFilePath(catalog, version);
    orWriteFailure(target, () => {
      const source = join(this.#dataDir, path);
      // A kill may have come just after this.
      if (existsSync(source) || !existsSync(target)) renameSync(source, target);
      removeTemporaryFiles(this.#versionFolder(catalog, version));
    });
    syncName(target);
  }

  /** Written after the version's file: a version without its record does not exist. */
  putVersion(catalog: string, record: VersionRecord): void {
    writeState(this.#recordPath(catalog, record.version), record);
  }

  /** Gone when it returns, as `deleteCatalog`; requests in flight keep what they have mapped. */
  deleteVersion(catalog: string, version: number): void {
    this.#discard(this.#versionFolder(catalog, version));
  }

  /**
   * Gone with its versions and sets when it returns.
   * @throws EspalierError ESP_WRITE_FAILED; `hasCatalog` says whether it is gone all the same, though not for certain
   */
  deleteCatalog(catalog: string): void {
    this.#discard(join(this.#root, catalog));
    this.#damaged.delete(catalog);
  }

  /** As `findVersion`; undefined where it is damaged. */
  #findReadable(catalog: string, version: number, onDamage: (error: EspalierError) => void = () => {}) {
    try {
      return this.findVersion(catalog, version);
    } catch (thrown) {
      onDamage(EspalierError.from(thrown));
      return undefined;
    }
  }

  /** One rename, so that a kill leaves all of a folder or nothing. */
  #discard(folder: string): void {
    const discarded = join(this.#trash, randomUUID());
    makeFolder(this.#trash);
    orWriteFailure(folder, () => renameSync(folder, discarded));
    syncName(folder);
    try {
      rmSync(discarded, { recursive: true, force: true });
    } catch (thrown) {
      // It is gone; the next start empties the trash.
      if (!isSystemError(thrown)) throw thrown;
    }
  }

  /** Ascending. */
  #versionNumbers(catalog: string): number[] {
    const folder = join(this.#root, catalog, 'versions');
    if (!existsSync(folder)) return [];
    return readdirSync(folder)
      .filter((name) => /^[1-9]\d*$/.test(name))
      .map(Number)
      .sort((a, b) => a - b);
  }

  #versionFolder(catalog: string, version: number): string {
    return join(this.#root, catalog, 'versions', String(version));
  }

  #recordPath(catalog: string, version: number): string {
    return join(this.#versionFolder(catalog, version), 'version.json');
  }
}

/** A version that has its file, and whose record is gone. */
export function lostRecord(catalog: string, version: number): EspalierError {
  const message = `version ${version} of catalog ${catalog} is damaged: version.json is gone`;
  return new EspalierError('ESP_ARTIFACT_CORRUPT', message);
}

/** Whether a record says what serving goes by. Those of earlier servers have no model. */
function isRecordOf(
  expected: number,
  { version, items, leaves, model, changesAfter = 0 }: VersionRecord,
): boolean {
  const counts = [items, leaves, changesAfter];
  const hasModel =
    model === undefined || (typeof model?.name === 'string' && Number.isInteger(model.version));
  return (
    version === expected && hasModel && counts.every((count) => Number.isSafeInteger(count) && count >= 0)
  );
}

/** What earlier servers wrote: the pointer's two halves, and a model without what it was. */
interface OldCatalogRecord extends Omit<CatalogRecord, 'active' | 'earlier'> {
  activeVersion: number | null;
  activatedAt: string | null;
}

function readCatalog(path: string): CatalogRecord {
  const looksRight = ({ name, model }: CatalogRecord | OldCatalogRecord) =>
    name === basename(dirname(path)) && typeof model?.name === 'string';
  const record = readState<CatalogRecord | OldCatalogRecord>(path, looksRight);
  if ('earlier' in record) return record;
  const { activeVersion, activatedAt, ...rest } = record;
  const { name, version } = record.model;
  const active =
    activeVersion === null
      ? null
      : { version: activeVersion, model: { name, version }, activatedAt: activatedAt! };
  return { ...rest, active, earlier: [] };
}
