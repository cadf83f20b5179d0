import type { ActivationChanges } from '../../decoder/index.js';
import { ChangeLog } from '../../static-trie/index.js';
import type { CatalogStore, VersionRecord } from './catalog-store.js';

/** The logs of small changes, one for each catalog: every version of it has those that came after it was begun. */
export class ChangeLogs {
  readonly #store: CatalogStore;
  readonly #logs = new Map<string, ChangeLog>();

  constructor(store: CatalogStore) {
    this.#store = store;
  }

  /** @throws EspalierError ESP_ARTIFACT_CORRUPT */
  of(catalog: string): ChangeLog {
    let log = this.#logs.get(catalog);
    if (log === undefined) {
      log = ChangeLog.open(this.#store.changesPath(catalog));
      this.#logs.set(catalog, log);
    }
    return log;
  }

  /** The changes that a version does not have in its file, up to the last that is in force. */
  after(catalog: string, { changesAfter }: Pick<VersionRecord, 'changesAfter'>): ActivationChanges {
    const path = this.#store.changesPath(catalog);
    return { path, after: changesAfter ?? 0, upTo: this.of(catalog).lastSeq };
  }

  /**
   * Leaves out what nothing needs any more.
   * @param versions all that there are, and those to come
   */
  prune(catalog: string, versions: readonly Pick<VersionRecord, 'changesAfter'>[]): void {
    const needed = Math.min(...versions.map(({ changesAfter }) => changesAfter ?? 0));
    if (versions.length > 0) this.of(catalog).prune(needed);
  }

  /** The catalog is gone, and its log with it. */
  forget(catalog: string): void {
    this.#logs.get(catalog)?.close();
    this.#logs.delete(catalog);
  }
}
