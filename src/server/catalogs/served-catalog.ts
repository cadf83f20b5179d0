import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { ActivationChanges, ModelInfo } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { type AttributeSchema, ChangeReader, type SetTruth } from '../../static-trie/index.js';
import { Aliases } from '../constraint-sets/aliases.js';
import { activeVersionOf, evaluationTime, type SetRecord } from '../constraint-sets/set-record.js';
import { SetStore } from '../constraint-sets/set-store.js';
import { serverOf } from '../data-dir-lock.js';
import { CatalogRecords } from './catalog-records.js';
import { type CatalogRecord, CatalogStore, type ModelName } from './catalog-store.js';
import { checkWhole } from './change-logs.js';
import { isSameModel } from './serving-pairs.js';

/** A constraint set in force. */
export interface ServedSet {
  name: string;
  version: number;
  truth: SetTruth;
  /** What `now` stands for in its rule. */
  nowMs: number;
}

/** A catalog's active version with everything that its answers depend on. */
export interface ServedCatalog {
  name: string;
  version: number;
  /** The catalog version's file. */
  path: string;
  attributes: AttributeSchema;
  model: ModelName;
  /** What the model must be, where that is known. */
  modelInfo: ModelInfo | undefined;
  changes: ActivationChanges;
  /** In the order of their names. */
  sets: ServedSet[];
  /** Sets that cannot be used, and why. */
  damagedSets: ReadonlyMap<string, EspalierError>;
  /** Of this catalog's sets: what else they are called. */
  aliases: { alias: string; constraintSet: string }[];
  /** The process of the server that uses the data directory now. */
  serverPid: number | undefined;
}

/**
 * What a server would serve from a data directory, read without writing anything: every file there is replaced by a
 * rename and never written again, but for the log of changes, which only grows. So a server may go on beside it; what
 * it activates or deletes meanwhile is not seen.
 * @param name absent: the only catalog
 * @throws EspalierError ESP_DATA_DIR, ESP_CATALOG_NOT_FOUND, ESP_CATALOG_INACTIVE, ESP_ARTIFACT_CORRUPT
 */
export function readServedCatalog(dataDir: string, name?: string): ServedCatalog {
  if (!existsSync(join(dataDir, 'catalogs'))) {
    const message = `${dataDir} is no data directory: expected the folder catalogs in it, which a server makes; found none`;
    throw new EspalierError('ESP_DATA_DIR', message);
  }
  const store = new CatalogStore(dataDir);
  const records = new CatalogRecords(store);
  const record = name === undefined ? onlyOf(records) : records.get(name);
  const { active } = record;
  if (active === null) {
    throw new EspalierError('ESP_CATALOG_INACTIVE', `catalog ${record.name} has no active version`);
  }
  const versionRecord = records.version(record, active.version);
  const { model: pin, changesAfter: after = 0 } = versionRecord;
  const changesPath = store.changesPath(record.name);
  const log = { exists: existsSync(changesPath), lastSeq: ChangeReader.lastSeqOf(changesPath) };
  checkWhole(record, log, after);
  const setStore = new SetStore(dataDir, () => {});
  const now = new Date().toISOString();
  const aliases = new Aliases(dataDir, () => {}).list();
  return {
    name: record.name,
    version: active.version,
    path: store.catalogFilePath(record.name, active.version),
    attributes: record.attributes,
    model: { name: active.model.name, version: active.model.version },
    modelInfo: isSameModel(pin, active.model) ? pin.info : undefined,
    changes: { path: changesPath, after, upTo: log.lastSeq },
    sets: setStore.list(record.name).flatMap((set) => {
      const nowMs = Date.parse(evaluationTime(set, active.activatedAt, now));
      return servedSet(setStore, record, set, nowMs);
    }),
    damagedSets: setStore.damaged(record.name),
    aliases: aliases.filter(({ catalog }) => catalog === record.name),
    serverPid: serverOf(dataDir),
  };
}

function servedSet(
  store: SetStore,
  { name: catalog }: CatalogRecord,
  set: SetRecord,
  nowMs: number,
): ServedSet[] {
  const inForce = activeVersionOf(set);
  if (inForce === undefined) return [];
  const { name } = set;
  const { version, truth, hash } = inForce;
  if (truth.kind === 'rule') return [{ name, version, truth, nowMs }];
  const path = store.listPath(catalog, name, version);
  return [{ name, version, truth: { kind: 'list', path, hash }, nowMs }];
}

function onlyOf(records: CatalogRecords): CatalogRecord {
  for (const error of records.damaged.values()) throw error;
  const all = records.list();
  if (all.length === 1) return all[0];
  const found = all.map(({ name }) => name).join(', ') || 'none';
  const expected = 'one catalog, or the name of one of several';
  throw new EspalierError('ESP_CATALOG_NOT_FOUND', `expected ${expected}; there are: ${found}`, {
    details: [{ field: 'catalog', expected, found }],
  });
}
