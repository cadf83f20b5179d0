import { EspalierError } from '../../errors.js';
import type { ModelStore } from '../model-store.js';
import type { ModelRegistry } from '../models/model-registry.js';
import type { CatalogRecord, CatalogStore, ModelPin } from './catalog-store.js';

interface PinningDeps {
  store: CatalogStore;
  models: ModelStore;
  registry: ModelRegistry;
  onError: (error: EspalierError, message: string) => void;
}

/**
 * Earlier servers wrote catalogs and versions that don't say what their model was: it is what the catalog's
 * model is now. Where that cannot be opened, the versions are pinned to it all the same, so that a model that
 * is PUT later is not taken for theirs.
 * @returns the record as it is on disk now.
 */
export async function pinOldRecords(record: CatalogRecord, deps: PinningDeps): Promise<CatalogRecord> {
  if (record.model.info !== undefined) return record;
  const { store, onError } = deps;
  const { name, version } = record.model;
  let model: ModelPin = record.model;
  try {
    const info = await deps.registry.use(deps.models.find(name, version), async (found) => found);
    model = { name, version, info };
  } catch (thrown) {
    onError(EspalierError.from(thrown), `the model of catalog ${record.name} cannot be opened`);
  }
  try {
    for (const one of store.listVersions(record)) {
      if (one.model.info === undefined) store.putVersion(record.name, { ...one, model });
    }
    store.putCatalog({ ...record, model });
  } catch (thrown) {
    onError(EspalierError.from(thrown), `catalog ${record.name} keeps its old records`);
  }
  return { ...record, model };
}
