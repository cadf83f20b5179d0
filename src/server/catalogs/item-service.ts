import type { EngineClient } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { checkItem, checkUpdate, Faults, type ItemUpdate, MAX_FAULTS } from '../../static-trie/index.js';
import { type ChangeRequest, checkPrecondition } from '../change-request.js';
import { activeVersionOf } from '../constraint-sets/set-record.js';
import type { SetStore } from '../constraint-sets/set-store.js';
import type { Job } from '../jobs/job-store.js';
import type { Activator } from './activator.js';
import type { CatalogRecords } from './catalog-records.js';
import { catalogEtag } from './catalog-service.js';
import type { CatalogRecord, VersionRecord } from './catalog-store.js';
import type { ChangeBuilds } from './change-builds.js';
import type { ChangeLogs } from './change-logs.js';
import type { ItemView } from './item-view.js';
import type { SetEvaluator, SetInForce } from './set-evaluator.js';

/** What is to change; items as they would be uploaded. */
export interface ItemChanges {
  remove: readonly string[];
  update: readonly unknown[];
  add: readonly unknown[];
}

export interface ChangedItems {
  removed: number;
  updated: number;
  /** Ids to remove or update that the catalog does not have. */
  unknownItems: string[];
  /** Builds the version that has the new items; absent where there are none. */
  job?: Job;
  version?: number;
}

export interface ItemServiceDeps {
  records: CatalogRecords;
  sets: SetStore;
  changes: ChangeLogs;
  builds: ChangeBuilds;
  activator: Activator;
  evaluator: SetEvaluator;
  engine: EngineClient;
}

/** Single items of the active version: what they are, and small changes to them. */
export class ItemService {
  readonly #deps: ItemServiceDeps;

  constructor(deps: ItemServiceDeps) {
    this.#deps = deps;
  }

  /** @throws EspalierError ESP_ITEM_NOT_FOUND, ESP_CATALOG_INACTIVE */
  async view(catalog: string, id: string): Promise<ItemView & { catalogVersion: number }> {
    const { evaluator } = this.#deps;
    const { record, version } = this.#active(catalog);
    const view = await evaluator.viewItem(record, version, id, this.#setsInForce(catalog));
    if (view !== undefined) return { ...view, catalogVersion: version.version };
    const message = `version ${version.version} of catalog ${catalog} has no item ${id}`;
    throw new EspalierError('ESP_ITEM_NOT_FOUND', message);
  }

  /**
   * Removals and updates are in force for the next request when this returns, and on disk; added items are there when
   * the job has ended. All of it is refused, or all of it happens.
   * @throws EspalierError ESP_UPLOAD_INVALID with what is wrong with which item, ESP_CATALOG_INACTIVE,
   *   ESP_PRECONDITION_FAILED, ESP_WRITE_FAILED, ESP_REDIS_UNAVAILABLE, ESP_ARTIFACT_CORRUPT
   */
  patch(catalog: string, changes: ItemChanges, change: ChangeRequest): Promise<ChangedItems> {
    const { records } = this.#deps;
    return records.mutex.run(catalog, async () => {
      const { record, version } = this.#active(catalog);
      checkPrecondition(change, catalogEtag(record));
      this.#checkSound(catalog);
      const updates = checkChanges(record, changes);
      const known = await this.#lookUp(record, version, changes, updates);
      const { builds } = this.#deps;
      const hasChanges = changes.remove.length > 0 || updates.length > 0;
      const started =
        changes.add.length > 0 ? await builds.start(catalog, changes.add, hasChanges, change.by) : undefined;
      try {
        if (hasChanges) await this.#putInForce(catalog, changes.remove, updates, change);
      } catch (thrown) {
        if (started !== undefined) builds.cancel(started.job);
        throw thrown;
      }
      return { ...known, ...started };
    });
  }

  async #putInForce(
    catalog: string,
    remove: readonly string[],
    update: readonly ItemUpdate[],
    { by }: ChangeRequest,
  ): Promise<void> {
    const { changes, activator, engine } = this.#deps;
    const { seq } = changes.append(catalog, {
      at: new Date().toISOString(),
      ...(by !== null && { by }),
      ...(remove.length > 0 && { remove }),
      ...(update.length > 0 && { update }),
    });
    if (!activator.isServing(catalog)) return;
    try {
      const applied = await engine.applyChanges(catalog, seq);
      activator.recount(catalog, applied.sets);
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      // The catalog serves no more, of which the activator has been told.
      if (error.code === 'ESP_ARTIFACT_CORRUPT') changes.reopen(catalog, seq - 1);
      throw error;
    }
  }

  /** What is written behind damage is read by nobody. */
  #checkSound(catalog: string): void {
    const error = this.#deps.activator.failure(catalog);
    if (error?.code === 'ESP_ARTIFACT_CORRUPT') throw error;
  }

  /** @throws EspalierError ESP_UPLOAD_INVALID where an item that is to be added is there already */
  async #lookUp(
    record: CatalogRecord,
    version: VersionRecord,
    { remove, add }: ItemChanges,
    updates: readonly ItemUpdate[],
  ): Promise<Pick<ChangedItems, 'removed' | 'updated' | 'unknownItems'>> {
    const added = add.map((item) => (item as { id: string }).id);
    const updated = updates.map(({ id }) => id);
    const ids = [...new Set([...remove, ...updated, ...added])];
    const found = await this.#deps.evaluator.hasItems(record, version, ids);
    const known = new Set(ids.filter((_, index) => found[index]));
    const removing = new Set(remove);
    const faults = new Faults(MAX_FAULTS);
    const earlier = new Set<string>();
    added.forEach((id, index) => {
      if ((known.has(id) && !removing.has(id)) || earlier.has(id)) {
        faults.add({ field: `add[${index}].id`, expected: 'an id that no other item has', found: id });
      }
      earlier.add(id);
    });
    if (faults.count > 0) throw invalid(faults);
    const isKept = (id: string) => known.has(id) && !removing.has(id);
    return {
      removed: [...removing].filter((id) => known.has(id)).length,
      updated: new Set(updated.filter(isKept)).size,
      unknownItems: [...new Set([...remove, ...updated])].filter((id) => !known.has(id)),
    };
  }

  #active(catalog: string): { record: CatalogRecord; version: VersionRecord } {
    const { records } = this.#deps;
    const record = records.get(catalog);
    const version = records.activeVersion(record);
    if (version !== undefined) return { record, version };
    throw new EspalierError('ESP_CATALOG_INACTIVE', `catalog ${catalog} has no active version`);
  }

  #setsInForce(catalog: string): SetInForce[] {
    const { sets, activator } = this.#deps;
    return sets.list(catalog).flatMap((set) => {
      const version = activeVersionOf(set);
      const evaluation = activator.evaluation(catalog, set.name);
      if (version === undefined || evaluation === null) return [];
      return [{ name: set.name, version, evaluatedAt: evaluation.evaluatedAt }];
    });
  }
}

/** @throws EspalierError ESP_UPLOAD_INVALID */
function checkChanges(
  { attributes, codebookSizes }: CatalogRecord,
  { update, add }: ItemChanges,
): ItemUpdate[] {
  const faults = new Faults(MAX_FAULTS);
  const note = (list: string, index: number, found: Faults) => {
    faults.addAll(found, ({ field, ...fault }) => ({
      field: `${list}[${index}]${field === undefined ? '' : `.${field}`}`,
      ...fault,
    }));
  };
  const updates: ItemUpdate[] = [];
  update.forEach((json, index) => {
    const checked = checkUpdate(json, attributes);
    if (checked instanceof Faults) note('update', index, checked);
    else updates.push(checked);
  });
  add.forEach((json, index) => {
    const checked = checkItem(json, attributes, codebookSizes);
    if (checked instanceof Faults) note('add', index, checked);
  });
  if (faults.count > 0) throw invalid(faults);
  return updates;
}

function invalid({ told, untold }: Faults): EspalierError {
  const [{ field, expected, found }] = told;
  const message = `${field}: expected ${expected}, found ${found}${untold}; nothing was changed`;
  return new EspalierError('ESP_UPLOAD_INVALID', message, { details: [...told] });
}
