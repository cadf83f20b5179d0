import { copyFileSync, linkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelInfo } from '../../decoder/index.js';
import { type AttributeSchema, orWriteFailure, syncFolder } from '../../static-trie/index.js';
import type { Activator } from '../catalogs/activator.js';
import type { CatalogRecords } from '../catalogs/catalog-records.js';
import type { CatalogRecord, CatalogStore, ModelName, VersionRecord } from '../catalogs/catalog-store.js';
import type { ChangeLogs } from '../catalogs/change-logs.js';
import { isSameModel } from '../catalogs/serving-pairs.js';
import type { Aliases } from '../constraint-sets/aliases.js';
import { activeVersionOf, type SetRecord } from '../constraint-sets/set-record.js';
import type { SetStore } from '../constraint-sets/set-store.js';
import { makeFolder, writeState } from '../state-file.js';

/** A constraint set as it was. */
export interface PinnedSet {
  name: string;
  version: number;
  /** A list's `file` lies in the folder of what is pinned. */
  truth: { kind: 'rule'; rule: string; params: object } | { kind: 'list'; file: string; hash: string };
  /** What `now` stands for. */
  evaluatedAt: string;
  /** In the past where the set was refused already; null: it is not refused, however long the job takes. */
  expiresAtMs: number | null;
}

/** A catalog that served, as it was. Its files lie in the folder of what is pinned. */
export interface PinnedCatalog {
  version: number;
  file: string;
  attributes: AttributeSchema;
  model: ModelName;
  modelInfo?: ModelInfo;
  /** `file` is null where there are no changes that the version does not have. */
  changes: { file: string | null; after: number; upTo: number };
  sets: PinnedSet[];
}

/** What all answers of a bulk job are made under. */
export interface BulkPins {
  /** null: it was there, and did not serve. */
  catalogs: Record<string, PinnedCatalog | null>;
  aliases: { catalog: string; alias: string; constraintSet: string }[];
}

/** Where in the data directory the pins of a job go; see `BulkFolder`. */
export interface PinPlaces {
  path: string;
  pinsPath: string;
  pinnedPath: string;
}

export interface PinDeps {
  store: CatalogStore;
  records: CatalogRecords;
  sets: SetStore;
  aliases: Aliases;
  changes: ChangeLogs;
  activator: Activator;
}

/**
 * Pins all that serves, as it is now: whatever is activated, changed or deleted later, the job has the files as links
 * of its own. Durable when it returns.
 */
export async function pinAll(deps: PinDeps, folder: PinPlaces): Promise<void> {
  makeFolder(folder.path);
  rmSync(folder.pinnedPath, { recursive: true, force: true });
  makeFolder(folder.pinnedPath);
  const catalogs: BulkPins['catalogs'] = {};
  for (const { name } of deps.records.list()) {
    // Not amid an activation, when the record is the next one's already and the sets are not.
    await deps.records.mutex.run(name, async () => {
      const record = deps.records.list().find((one) => one.name === name);
      if (record !== undefined) catalogs[name] = pinCatalog(deps, record, folder.pinnedPath);
    });
  }
  syncFolder(folder.pinnedPath);
  const aliases = deps.aliases.list();
  writeState(folder.pinsPath, { catalogs, aliases } satisfies BulkPins);
}

function pinCatalog(deps: PinDeps, record: CatalogRecord, target: string): PinnedCatalog | null {
  const { store, records, changes: logs, activator } = deps;
  const { name, active, attributes } = record;
  if (active === null || !activator.isServing(name)) return null;
  const versionRecord = records.version(record, active.version);
  const { version, model } = active;
  const file = `${name}.catalog`;
  keep(store.catalogFilePath(name, version), join(target, file));
  const { info } = versionRecord.model;
  return {
    version,
    file,
    attributes,
    model: { name: model.name, version: model.version },
    ...(info !== undefined && isSameModel(versionRecord.model, model) && { modelInfo: info }),
    changes: pinChanges(logs, name, versionRecord, target),
    sets: deps.sets.list(name).flatMap((set) => pinSet(deps, record, set, target)),
  };
}

function pinChanges(logs: ChangeLogs, name: string, versionRecord: VersionRecord, target: string) {
  const { path, after, upTo } = logs.after(name, versionRecord);
  if (upTo <= after) return { file: null, after, upTo };
  const file = `${name}.changes`;
  keep(path, join(target, file));
  return { file, after, upTo };
}

function pinSet(
  { sets, activator }: PinDeps,
  record: CatalogRecord,
  set: SetRecord,
  target: string,
): PinnedSet[] {
  const inForce = activeVersionOf(set);
  const evaluation = activator.evaluation(record.name, set.name);
  if (inForce === undefined || evaluation === null) return [];
  const { version, truth, hash, refresh } = inForce;
  const { evaluatedAt } = evaluation;
  const expiresAtMs =
    refresh?.whenStale === 'refuse' ? Date.parse(evaluatedAt) + refresh.maxAgeSeconds * 1_000 : null;
  const common = {
    name: set.name,
    version,
    evaluatedAt,
    expiresAtMs: expiresAtMs !== null && expiresAtMs < Date.now() ? expiresAtMs : null,
  };
  if (truth.kind === 'rule') return [{ ...common, truth }];
  const file = `${record.name}.${set.name}.list`;
  keep(sets.listPath(record.name, set.name, version), join(target, file));
  return [{ ...common, truth: { kind: 'list', file, hash } }];
}

/** A link, so that it costs nothing; a copy where the file system has none. What is linked is never written again. */
function keep(path: string, target: string): void {
  orWriteFailure(target, () => {
    try {
      linkSync(path, target);
    } catch {
      copyFileSync(path, target);
    }
  });
}
