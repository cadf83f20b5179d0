import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { EspalierError } from '../../errors.js';
import { isSystemError, orWriteFailure, syncName } from '../../static-trie/index.js';
import { makeFolder, readState, removeTemporaryFiles, writeState } from '../state-file.js';
import { hashOfRule, type SetRecord, type SetVersion } from './set-record.js';

/** The sets of a catalog. */
interface SetsOfCatalog {
  readable: Map<string, SetRecord>;
  /** Sets whose file is damaged: it stays where it is, as it may be restored. */
  damaged: Map<string, EspalierError>;
}

/**
 * Constraint sets in the data directory:
 *   catalogs/<catalog>/constraint-sets/<set>.json      all versions, and which is in force
 *   catalogs/<catalog>/constraint-sets/<set>.<n>.list  the ids or SIDs of a listed version; <set>.<n>.<uuid>.list while
 *                                                      a job writes it
 * Every write is durable when it returns.
 */
export class SetStore {
  readonly #root: string;
  /** By catalog and set, as they are on disk: a catalog may have thousands. */
  readonly #sets = new Map<string, SetsOfCatalog>();
  readonly #onDamage: (error: EspalierError) => void;

  /** @param onDamage told of each set whose file cannot be read */
  constructor(dataDir: string, onDamage: (error: EspalierError) => void) {
    this.#root = join(dataDir, 'catalogs');
    this.#onDamage = onDamage;
  }

  /** In the order of their names, without those that are damaged. */
  list(catalog: string): SetRecord[] {
    return [...this.#of(catalog).readable.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Sets that cannot be used, and why. */
  damaged(catalog: string): ReadonlyMap<string, EspalierError> {
    return this.#of(catalog).damaged;
  }

  /**
   * @returns undefined where there is no such set.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT where its file is damaged
   */
  get(catalog: string, name: string): SetRecord | undefined {
    const { readable, damaged } = this.#of(catalog);
    const error = damaged.get(name);
    if (error !== undefined) throw error;
    return readable.get(name);
  }

  put(catalog: string, record: SetRecord): void {
    makeFolder(this.#folder(catalog));
    writeState(join(this.#folder(catalog), `${record.name}.json`), record);
    this.#of(catalog).readable.set(record.name, record);
  }

  /**
   * Of a damaged set the file goes, and its lists at the next start.
   * @throws EspalierError ESP_WRITE_FAILED; the set is in force as it was, also where its file is gone
   */
  delete(catalog: string, { name, versions }: Pick<SetRecord, 'name' | 'versions'>): void {
    const path = join(this.#folder(catalog), `${name}.json`);
    orWriteFailure(path, () => rmSync(path, { force: true }));
    syncName(path);
    const { readable, damaged } = this.#of(catalog);
    readable.delete(name);
    damaged.delete(name);
    for (const { version } of versions) this.deleteList(catalog, name, version);
  }

  /** Forgets the sets of a catalog whose folder is gone. */
  forget(catalog: string): void {
    this.#sets.delete(catalog);
  }

  /**
   * Where a job writes the list of a new version, which `takeList` puts in place. It is that job's alone: another, of a
   * set that was deleted, may still write one of the same name and number. Its folder is made.
   */
  newListPath(catalog: string, name: string, version: number): string {
    makeFolder(this.#folder(catalog));
    return join(this.#folder(catalog), `${name}.${version}.${randomUUID()}.list`);
  }

  /**
   * Puts a list in its version's place, unless it is there already.
   * @throws EspalierError ESP_WRITE_FAILED
   */
  takeList(path: string, catalog: string, name: string, version: number): void {
    const target = this.listPath(catalog, name, version);
    orWriteFailure(target, () => {
      // A kill may have come just after this.
      if (existsSync(path) || !existsSync(target)) renameSync(path, target);
    });
    syncName(target);
  }

  /** Removes the list of a job that came to nothing, if it has written any. */
  discardList(path: string): void {
    removeIfPossible(path);
  }

  /** Where the list of a set's version lies. */
  listPath(catalog: string, name: string, version: number): string {
    return join(this.#folder(catalog), `${name}.${version}.list`);
  }

  /** A list that cannot be removed stays until the next start; nothing names it any more. */
  deleteList(catalog: string, name: string, version: number): void {
    removeIfPossible(this.listPath(catalog, name, version));
  }

  /**
   * Removes what interrupted writes and builds have left behind, and sets whose first list was never accepted.
   * @param unfinished builds that go on, and whose lists stay
   * @param areAllKnown whether there are no others: a set's first list may be that of a job whose record is damaged
   */
  clean(catalog: string, unfinished: readonly { set: string; path: string }[], areAllKnown: boolean): void {
    const folder = this.#folder(catalog);
    if (!existsSync(folder)) return;
    removeTemporaryFiles(folder);
    const lists = new Set(unfinished.map(({ path }) => basename(path)));
    for (const record of this.list(catalog)) {
      const { name, versions } = record;
      const isUnderWay = !areAllKnown || unfinished.some(({ set }) => set === name);
      if (versions.length === 0 && !isUnderWay) this.delete(catalog, record);
      for (const { version } of versions) lists.add(`${name}.${version}.list`);
    }
    const damaged = this.damaged(catalog);
    for (const file of readdirSync(folder)) {
      const [, set] = LIST_FILE.exec(file) ?? [];
      const isLeft = set !== undefined && !damaged.has(set) && !lists.has(file);
      if (isLeft) rmSync(join(folder, file), { force: true });
    }
  }

  #folder(catalog: string): string {
    return join(this.#root, catalog, 'constraint-sets');
  }

  #of(catalog: string): SetsOfCatalog {
    let sets = this.#sets.get(catalog);
    if (sets === undefined) {
      sets = this.#read(catalog);
      this.#sets.set(catalog, sets);
    }
    return sets;
  }

  #read(catalog: string): SetsOfCatalog {
    const sets: SetsOfCatalog = { readable: new Map(), damaged: new Map() };
    const folder = this.#folder(catalog);
    const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.json')) : [];
    for (const file of files) {
      const name = basename(file, '.json');
      try {
        sets.readable.set(name, readSet(join(folder, file), name));
      } catch (cause) {
        const { code, message } = EspalierError.from(cause);
        const what = `constraint set ${name} of catalog ${catalog} is damaged`;
        const error = new EspalierError(code, `${what}: ${message}`, { cause });
        sets.damaged.set(name, error);
        this.#onDamage(error);
      }
    }
    return sets;
  }
}

/** `<set>.<n>.list`, where a set's name may have dots; or `<set>.<n>.<uuid>.list`, which a job writes. */
const LIST_FILE = /^(.+)\.\d+(?:\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?\.list$/;

function removeIfPossible(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch (thrown) {
    if (!isSystemError(thrown)) throw thrown;
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

function readSet(path: string, expected: string): SetRecord {
  const looksRight = (json: SetRecord | OldSetRecord) =>
    json.name === expected && ('versions' in json ? isWhole(json) : typeof json.rule === 'string');
  const record = readState<SetRecord | OldSetRecord>(path, looksRight);
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

/**
 * Whether a record has the version that it says is in force, and each version a truth.
 * @throws Error where a rule is not the one that its hash is of
 */
function isWhole({ versions, active, earlier, lastVersion }: SetRecord): boolean {
  const hasTruths = Array.isArray(versions) && versions.every(({ truth }) => typeof truth?.kind === 'string');
  const hasActive = hasTruths && (active === null || versions.some(({ version }) => version === active));
  if (hasTruths) for (const version of versions) checkRule(version);
  return hasActive && Array.isArray(earlier) && Number.isInteger(lastVersion);
}

/** Of lists the hash is checked when they are read. */
function checkRule({ version, truth, hash }: SetVersion): void {
  if (truth.kind !== 'rule') return;
  const found = hashOfRule(truth.rule, truth.params);
  if (found !== hash)
    throw new Error(`SHA-256 of the rule of version ${version} must be ${hash}, found ${found}`);
}
