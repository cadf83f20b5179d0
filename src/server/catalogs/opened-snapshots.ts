import type { ActivationChanges } from '../../decoder/index.js';
import {
  type AttributeSchema,
  CatalogSnapshot,
  ChangeReader,
  openCatalogFile,
  orReadFailure,
  verifyCatalogFile,
} from '../../static-trie/index.js';

/** Of a catalog: the active version, and the one that is to follow it. */
const MAX_OPENED_OF_CATALOG = 2;

/** A catalog version's file. */
export interface VersionFile {
  catalog: string;
  path: string;
  /** SHA-256 of what was written; absent where an earlier server did. */
  hash?: string;
}

interface Opened {
  catalog: string;
  snapshot: CatalogSnapshot;
  reader: ChangeReader;
}

/** Catalog versions with their small changes, for rules to be evaluated over; the latest of each catalog are kept open. */
export class OpenedSnapshots {
  /** By path, the latest last. */
  readonly #opened = new Map<string, Opened>();
  /** Files that were sound when they were read; they never change, so that once is enough for rules. */
  readonly #verified = new Set<string>();

  /** Reads a file as a whole. @throws EspalierError ESP_ARTIFACT_CORRUPT */
  verify(file: VersionFile): void {
    this.setVerified(file.path, false);
    verifyVersionFile(file);
    this.setVerified(file.path, true);
  }

  /**
   * Takes note of what reading a file as a whole has shown. One of its name that was open before may have been another.
   */
  setVerified(path: string, isSound: boolean): void {
    this.#opened.delete(path);
    if (isSound) this.#verified.add(path);
    else this.#verified.delete(path);
  }

  /** @throws EspalierError ESP_ARTIFACT_CORRUPT */
  open(file: VersionFile, schema: AttributeSchema, changes: ActivationChanges): CatalogSnapshot {
    const { catalog, path } = file;
    if (!this.#verified.has(path)) this.verify(file);
    const { snapshot, reader } = this.#opened.get(path) ?? {
      snapshot: CatalogSnapshot.of(
        orReadFailure(path, () => openCatalogFile(path)),
        schema,
        changes.after,
      ),
      reader: new ChangeReader(changes.path, changes.after),
    };
    const next = snapshot.withChanges(reader.catchUp(changes.upTo)).snapshot;
    this.#opened.delete(path);
    this.#opened.set(path, { catalog, snapshot: next, reader });
    const paths = this.#pathsOf(catalog);
    if (paths.length > MAX_OPENED_OF_CATALOG) this.#opened.delete(paths[0]);
    return next;
  }

  /** Closes what is open of a catalog that is gone: its files take space until then. */
  forget(catalog: string): void {
    for (const path of this.#pathsOf(catalog)) this.setVerified(path, false);
  }

  close(): void {
    this.#opened.clear();
  }

  #pathsOf(catalog: string): string[] {
    return [...this.#opened].filter(([, opened]) => opened.catalog === catalog).map(([path]) => path);
  }
}

/** Reads a version's file as a whole. @throws EspalierError ESP_ARTIFACT_CORRUPT */
export function verifyVersionFile({ path, hash }: VersionFile): void {
  orReadFailure(path, () => verifyCatalogFile(path, () => {}, hash));
}
