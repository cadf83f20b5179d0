import type { ActivationChanges } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { type CatalogChange, ChangeLog } from '../../static-trie/index.js';
import type { CatalogRecords } from './catalog-records.js';
import type { CatalogRecord, CatalogStore, VersionRecord } from './catalog-store.js';

/** The logs of small changes, one for each catalog: every version of it has those that came after it was begun. */
export class ChangeLogs {
  readonly #store: CatalogStore;
  readonly #records: CatalogRecords;
  readonly #logs = new Map<string, ChangeLog>();
  /** By catalog, the last change that was acknowledged before its log was closed. */
  readonly #acknowledged = new Map<string, number>();

  constructor(store: CatalogStore, records: CatalogRecords) {
    this.#store = store;
    this.#records = records;
  }

  /** @throws EspalierError ESP_ARTIFACT_CORRUPT where it is damaged, or lacks changes that were acknowledged */
  of(catalog: string): ChangeLog {
    let log = this.#logs.get(catalog);
    if (log === undefined) {
      log = ChangeLog.open(this.#store.changesPath(catalog));
      const versions = this.#records.versions(catalog).map(({ changesAfter = 0 }) => changesAfter);
      checkWhole(
        this.#records.get(catalog),
        log,
        Math.max(this.#acknowledged.get(catalog) ?? 0, ...versions),
      );
      this.#logs.set(catalog, log);
    }
    return log;
  }

  /**
   * The change is durable when this returns.
   * @throws EspalierError ESP_WRITE_FAILED, ESP_ARTIFACT_CORRUPT
   */
  append(catalog: string, change: Omit<CatalogChange, 'seq'>): CatalogChange {
    const log = this.of(catalog);
    // In this order: whatever ends the process between them, a record that says that there is a log is right.
    log.create();
    this.note(catalog);
    return log.append(change);
  }

  /**
   * Has the catalog's record say that there is a log, where there is one; those of earlier servers do not.
   * @throws EspalierError ESP_WRITE_FAILED, ESP_ARTIFACT_CORRUPT
   */
  note(catalog: string): void {
    const record = this.#records.get(catalog);
    if (this.of(catalog).exists && !record.hasChangeLog) {
      this.#records.save({ ...record, hasChangeLog: true });
    }
  }

  /**
   * The changes that a version does not have in its file, up to the last that is in force.
   * @throws EspalierError as `of`
   */
  after(catalog: string, { changesAfter = 0 }: Pick<VersionRecord, 'changesAfter'>): ActivationChanges {
    const log = this.of(catalog);
    checkWhole(this.#records.get(catalog), log, changesAfter);
    return { path: this.#store.changesPath(catalog), after: changesAfter, upTo: log.lastSeq };
  }

  /** Has the log read anew, which was damaged: its file may be replaced by one that has all up to a change. */
  reopen(catalog: string, acknowledgedSeq: number): void {
    this.#close(catalog);
    this.#acknowledged.set(catalog, acknowledgedSeq);
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
    this.#close(catalog);
    this.#acknowledged.delete(catalog);
  }

  #close(catalog: string): void {
    this.#logs.get(catalog)?.close();
    this.#logs.delete(catalog);
  }
}

/**
 * Checks that a log, as far as it can be read, does not lack changes: one that is gone, or an older one, would bring
 * back what was removed, and number changes that every version takes for those that it has in it.
 * @param neededSeq a change that was acknowledged
 * @throws EspalierError ESP_ARTIFACT_CORRUPT
 */
export function checkWhole(
  { name, hasChangeLog }: CatalogRecord,
  { exists, lastSeq }: Pick<ChangeLog, 'exists' | 'lastSeq'>,
  neededSeq: number,
): void {
  if (lastSeq >= neededSeq && (exists || !hasChangeLog)) return;
  const expected = neededSeq === 0 ? 'the file that changes were written to' : `changes up to ${neededSeq}`;
  const found = exists ? `none behind ${lastSeq}` : 'no file';
  const message = `changes.log of catalog ${name}: expected ${expected}, found ${found}`;
  throw new EspalierError('ESP_ARTIFACT_CORRUPT', message);
}
