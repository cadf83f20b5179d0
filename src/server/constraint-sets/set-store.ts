import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { isSystemError, orWriteFailure, syncFolder } from '../../static-trie/index.js';
import { makeFolder, readState, removeTemporaryFiles, writeState } from '../state-file.js';
import { hashOfRule, type SetRecord } from './set-record.js';

/**
 * Constraint sets in the data directory:
 *   catalogs/<catalog>/constraint-sets/<set>.json      all versions, and which is in force
 *   catalogs/<catalog>/constraint-sets/<set>.<n>.list  the ids or SIDs of a listed version
 * Every write is durable when it returns.
 */
export class SetStore {
  readonly #root: string;
  /** By catalog and set, as they are on disk: a catalog may have thousands. */
  readonly #sets = new Map<string, Map<string, SetRecord>>();

  constructor(dataDir: string) {
    this.#root = join(dataDir, 'catalogs');
  }

  /** In the order of their names. @throws EspalierError ESP_ARTIFACT_CORRUPT where a set's file is damaged */
  list(catalog: string): SetRecord[] {
    return [...this.#of(catalog).values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** @returns undefined where there is no such set. */
  get(catalog: string, name: string): SetRecord | undefined {
    return this.#of(catalog).get(name);
  }

  put(catalog: string, record: SetRecord): void {
    makeFolder(this.#folder(catalog));
    writeState(join(this.#folder(catalog), `${record.name}.json`), record);
    this.#of(catalog).set(record.name, record);
  }

  /** @throws EspalierError ESP_WRITE_FAILED; then the set is as it was */
  delete(catalog: string, { name, versions }: SetRecord): void {
    const path = join(this.#folder(catalog), `${name}.json`);
    orWriteFailure(path, () => {
      rmSync(path, { force: true });
      syncFolder(this.#folder(catalog));
    });
    this.#of(catalog).delete(name);
    for (const { version } of versions) this.deleteList(catalog, name, version);
  }

  /** Forgets the sets of a catalog whose folder is gone. */
  forget(catalog: string): void {
    this.#sets.delete(catalog);
  }

  /** Where the list of a set's version lies. Its folder is made. */
  listPath(catalog: string, name: string, version: number): string {
    makeFolder(this.#folder(catalog));
    return join(this.#folder(catalog), `${name}.${version}.list`);
  }

  /** A list that cannot be removed stays until the next start; nothing names it any more. */
  deleteList(catalog: string, name: string, version: number): void {
    try {
      rmSync(join(this.#folder(catalog), `${name}.${version}.list`), { force: true });
    } catch (thrown) {
      if (!isSystemError(thrown)) throw thrown;
    }
  }

  /**
   * Removes what interrupted writes and builds have left behind, and sets whose first list was never accepted.
   * @param unfinished builds that go on, and whose lists stay
   */
  clean(catalog: string, unfinished: readonly { set: string; version: number }[]): void {
    const folder = this.#folder(catalog);
    if (!existsSync(folder)) return;
    removeTemporaryFiles(folder);
    const lists = new Set(unfinished.map(({ set, version }) => `${set}.${version}.list`));
    for (const record of this.list(catalog)) {
      const { name, versions } = record;
      const isUnderWay = versions.length > 0 || unfinished.some(({ set }) => set === name);
      if (!isUnderWay) this.delete(catalog, record);
      for (const { version } of versions) lists.add(`${name}.${version}.list`);
    }
    for (const file of readdirSync(folder)) {
      if (file.endsWith('.list') && !lists.has(file)) rmSync(join(folder, file), { force: true });
    }
  }

  #folder(catalog: string): string {
    return join(this.#root, catalog, 'constraint-sets');
  }

  #of(catalog: string): Map<string, SetRecord> {
    let sets = this.#sets.get(catalog);
    if (sets === undefined) {
      const folder = this.#folder(catalog);
      const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.json')) : [];
      const records = files.map((file) => readSet(join(folder, file)));
      sets = new Map(records.map((record) => [record.name, record]));
      this.#sets.set(catalog, sets);
    }
    return sets;
  }
}

/** What earlier servers wrote: the one version that was in force. */
interface OldSetRecord {
  name: string;
  version: number;
  rule: string;
  params: Record<string, never>;
  updatedAt: string;
}

function readSet(path: string): SetRecord {
  const record = readState<SetRecord | OldSetRecord>(path);
  if ('versions' in record) return record;
  const { name, version, rule, params, updatedAt } = record;
  const truth = { kind: 'rule' as const, rule, params };
  const hash = hashOfRule(rule, params);
  return {
    name,
    active: version,
    activatedAt: updatedAt,
    earlier: [],
    versions: [{ version, truth, refresh: null, hash, createdAt: updatedAt, createdBy: null }],
    lastVersion: version,
    createdAt: updatedAt,
  };
}
