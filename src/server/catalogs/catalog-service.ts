import { randomUUID } from 'node:crypto';
import {
  canonicalJson,
  type EngineClient,
  fingerprintFaults,
  type ModelInfo,
  type ModelRef,
} from '../../decoder/index.js';
import { EspalierError, fieldError } from '../../errors.js';
import type { AttributeSchema, ItemFile } from '../../static-trie/index.js';
import { type ChangeRequest, checkPrecondition, etagOf } from '../change-request.js';
import { type Aliases, refuseAliased } from '../constraint-sets/aliases.js';
import type { SetStore } from '../constraint-sets/set-store.js';
import type { Idempotency, StartedJob } from '../jobs/idempotency.js';
import type { Jobs } from '../jobs/jobs.js';
import type { ModelStore } from '../model-store.js';
import type { ModelRegistry } from '../models/model-registry.js';
import type { Activator } from './activator.js';
import type { CatalogRecords } from './catalog-records.js';
import type {
  CatalogRecord,
  CatalogStore,
  DamagedVersion,
  ModelName,
  ModelPin,
  VersionRecord,
} from './catalog-store.js';
import type { ChangeLogs } from './change-logs.js';
import { pinOldRecords } from './old-records.js';
import {
  isSameModel,
  outdatedVersions,
  rolledBack,
  wasActive,
  withActive,
  withoutVersions,
} from './serving-pairs.js';
import { type BuiltVersion, VersionBuilds } from './version-builds.js';

export interface CatalogDefinition {
  model: { name: string; version?: number | undefined };
  codebookSizes: number[];
  attributes: AttributeSchema;
}

export interface CatalogServiceDeps {
  store: CatalogStore;
  records: CatalogRecords;
  sets: SetStore;
  aliases: Aliases;
  changes: ChangeLogs;
  activator: Activator;
  models: ModelStore;
  registry: ModelRegistry;
  engine: EngineClient;
  jobs: Jobs;
  /** What an upload may unpack to. */
  uploadLimitBytes: number;
  /** Versions of a catalog that are kept. */
  keepVersions: number;
  /** Versions of a catalog that others are being built from. */
  basesOf: (catalog: string) => readonly number[];
  /** Gets what failed after the fact, and is no answer to anybody. */
  onError: (error: EspalierError, message: string) => void;
}

/** What `activateOver` does to a version's files. */
export interface VersionInPlace {
  put(): void;
  remove(): void;
}

/** How things were when an upload began to come. */
export interface UploadBegin {
  catalog: string;
  catalogId: string | undefined;
  /** The number of the last small change before it. */
  changesAfter: number;
}

/** What a start could not bring back. */
export interface RestoreReport {
  /** The catalog is not served. */
  onFailure: (catalog: string, error: EspalierError) => void;
  /** The catalog is, but requests under this set are refused. */
  onDamagedSet: (catalog: string, set: string, error: EspalierError) => void;
}

/**
 * Changes catalogs. Every change first does all that can fail, then writes the truth to disk, then switches the
 * engine; what was active serves until then. Changes of one catalog and its sets run one by one.
 */
export class CatalogService {
  readonly #deps: CatalogServiceDeps;
  readonly #builds: VersionBuilds;
  /** What is being received. */
  readonly #uploads = new Set<UploadBegin>();

  constructor(deps: CatalogServiceDeps) {
    this.#deps = deps;
    this.#builds = new VersionBuilds({ ...deps, activate: (built) => this.#activateBuilt(built) });
  }

  /** Brings back what was active when the server stopped; what fails is reported and left out. */
  async restore({ onFailure, onDamagedSet }: RestoreReport): Promise<void> {
    const { records, activator } = this.#deps;
    for (const [catalog, error] of records.damaged) onFailure(catalog, error);
    for (const before of records.list()) {
      const { name } = before;
      try {
        const record = await pinOldRecords(before, this.#deps);
        records.replace(record);
        this.#noteLog(name);
        if (record.active !== null)
          await activator.restore(record, record.active, (set, error) => onDamagedSet(name, set, error));
      } catch (thrown) {
        const error = EspalierError.from(thrown);
        activator.stopped(name, error);
        onFailure(name, error);
      }
    }
  }

  /** A full disk is no reason not to serve: it is noted at the next start, or with the next change. */
  #noteLog(catalog: string): void {
    const { changes, onError } = this.#deps;
    try {
      changes.note(catalog);
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      if (error.code !== 'ESP_WRITE_FAILED') throw error;
      onError(error, `catalog ${catalog} keeps its old record`);
    }
  }

  list(): CatalogRecord[] {
    return this.#deps.records.list();
  }

  /** Catalogs that should serve and don't, and why. */
  notServing(): { name: string; error: EspalierError | undefined }[] {
    const broken = this.list().filter(
      ({ name, active }) => active !== null && !this.#deps.activator.isServing(name),
    );
    return [
      ...Array.from(this.#deps.records.damaged, ([name, error]) => ({ name, error })),
      ...broken.map((record) => ({ name: record.name, error: this.failure(record) })),
    ];
  }

  /** Why a catalog does not serve that has an active version. */
  failure({ name, active }: CatalogRecord): EspalierError | undefined {
    return active === null ? undefined : this.#deps.activator.failure(name);
  }

  /** @throws EspalierError ESP_CATALOG_NOT_FOUND; ESP_ARTIFACT_CORRUPT where its file is damaged. */
  get(catalog: string): CatalogRecord {
    return this.#deps.records.get(catalog);
  }

  /** undefined where none is active, or where its record is damaged: `damagedVersions` has it then. */
  activeVersion(record: CatalogRecord): VersionRecord | undefined {
    try {
      return this.#deps.records.activeVersion(record);
    } catch (thrown) {
      if (EspalierError.from(thrown).code !== 'ESP_ARTIFACT_CORRUPT') throw thrown;
      return undefined;
    }
  }

  versions(catalog: string): VersionRecord[] {
    return this.#deps.records.versions(catalog);
  }

  damagedVersions(catalog: string): DamagedVersion[] {
    return this.#deps.records.damagedVersions(catalog);
  }

  /**
   * Creates a catalog, or gives it another model. Where the active version fits the model (it has the
   * fingerprint of the one that the version was built for) they serve together when this returns; where it
   * doesn't, the model waits for a version that is uploaded for it. Attributes stay once there are versions.
   */
  async put(
    name: string,
    definition: CatalogDefinition,
    change: ChangeRequest,
  ): Promise<{ record: CatalogRecord; created: boolean }> {
    const { records, models, registry, activator } = this.#deps;
    records.find(name);
    return records.mutex.run(name, () => {
      const existing = records.find(name);
      checkPrecondition(change, existing === undefined ? null : catalogEtag(existing));
      const ref = models.find(definition.model.name, definition.model.version);
      return registry.use(ref, async (info) => {
        checkCodebooks(ref, info.codebookSizes, definition.codebookSizes);
        if (existing !== undefined && this.#hasVersions(name)) checkAttributes(existing, definition);
        const model: ModelPin = { name: ref.name, version: ref.version, info };
        const { codebookSizes, attributes } = definition;
        const before = existing ?? newCatalog(name, change);
        const record: CatalogRecord = { ...before, model, codebookSizes, attributes };
        const created = existing === undefined;
        const { active } = record;
        const built = existing && active && records.version(existing, active.version);
        if (!active || !built || !fits(built, model, info)) {
          records.save(record);
          return { record, created };
        }
        const isSame = canonicalJson(existing) === canonicalJson(record) && isSameModel(active.model, model);
        if (isSame && activator.isServing(name)) return { record, created };
        return { record: await this.#activate(record, active.version, model, change), created };
      });
    });
  }

  /** Catalogs that serve with a model version. */
  servingWith(model: ModelName): string[] {
    const serving = this.list().filter(({ name }) => this.#deps.activator.isServing(name));
    return serving.flatMap(({ name, active }) =>
      active !== null && isSameModel(active.model, model) ? [name] : [],
    );
  }

  /**
   * Receives an upload. Small changes that come from now on apply to what it brings, too: they stay in the log.
   * @param receive gets what the build is to begin with.
   */
  async receiveUpload<Result>(
    catalog: string,
    receive: (upload: UploadBegin) => Promise<Result>,
  ): Promise<Result> {
    const { id: catalogId } = this.get(catalog);
    const upload = { catalog, catalogId, changesAfter: this.#deps.changes.of(catalog).lastSeq };
    this.#uploads.add(upload);
    try {
      return await receive(upload);
    } finally {
      this.#uploads.delete(upload);
    }
  }

  /** Starts the build of a new version from an upload that was received; the upload is the job's from then on. */
  startBuild(
    { catalog, catalogId, changesAfter }: UploadBegin,
    files: ItemFile[],
    activate: boolean,
    change: ChangeRequest,
    idempotency: Idempotency,
  ): Promise<StartedJob> {
    const record = this.#deps.records.same(catalog, catalogId);
    checkPrecondition(change, catalogEtag(record));
    return this.#builds.start(record, files, activate, change.by, changesAfter, idempotency);
  }

  /**
   * Makes a version the active one, together with the model that it was built for, with every constraint set
   * prepared for it. Versions that retention does not keep are deleted.
   * @throws EspalierError ESP_VERSION_NOT_FOUND; ESP_MODEL_… where its model is gone, is broken, or is no longer
   *   what it was; ESP_SET_UNBOUND with the sets that cannot bind; ESP_PRECONDITION_FAILED.
   */
  activate(catalog: string, version: number, change: ChangeRequest): Promise<CatalogRecord> {
    return this.#change(catalog, change, (record) => {
      const { model } = this.#deps.records.version(record, version);
      return this.#activate(record, version, model, change);
    });
  }

  /**
   * Puts a version in place that was built over `base`, and activates it, unless another is active by now. Nobody sees
   * it before it is active, and where it cannot be, it is gone.
   * @returns whether it was done
   */
  activateOver(built: BuiltVersion, base: number, { put, remove }: VersionInPlace): Promise<boolean> {
    const { catalog, catalogId, version, by } = built;
    return this.#change(catalog, { by }, async (record) => {
      this.#deps.records.same(catalog, catalogId);
      if (record.active?.version !== base) return false;
      try {
        put();
        await this.#activate(record, version, record.active.model, { by });
      } catch (thrown) {
        if (this.get(catalog).active?.version !== version) remove();
        throw thrown;
      }
      return true;
    });
  }

  /**
   * Brings back the catalog version and the model version that were active before, or the latest earlier pair
   * of `version`; where there is none, with the model that it was built for.
   * @throws EspalierError ESP_ROLLBACK_UNAVAILABLE; ESP_VERSION_NOT_FOUND; what `activate` throws
   */
  rollback(catalog: string, version: number | undefined, change: ChangeRequest): Promise<CatalogRecord> {
    return this.#change(catalog, change, (before) => {
      const { records } = this.#deps;
      const { record, pair } = rolledBack(
        before,
        version === undefined ? undefined : records.version(before, version),
      );
      const built = records.version(before, pair.version);
      const model = this.#modelAfterRollback(before, pair.model, built);
      return this.#activate({ ...record, model }, pair.version, pair.model, change);
    });
  }

  /**
   * Deletes a catalog with its versions and sets. Requests in flight end on what they began with.
   * @throws EspalierError ESP_CATALOG_NOT_FOUND, ESP_SET_IN_USE where aliases name its sets
   */
  delete(catalog: string, change: ChangeRequest): Promise<void> {
    const { records, aliases, jobs } = this.#deps;
    return this.#change(catalog, change, async () => {
      refuseAliased(aliases.namesOf(catalog), `catalog ${catalog}`);
      for (const { id } of jobs.unfinishedOf(catalog)) jobs.cancelIfPossible(id);
      try {
        records.delete(catalog);
      } finally {
        // Also where that is not durable: what is not on disk must not serve on.
        if (records.find(catalog) === undefined) await this.#forget(catalog);
      }
    });
  }

  async #forget(catalog: string): Promise<void> {
    const { sets, changes, activator, engine, registry } = this.#deps;
    sets.forget(catalog);
    changes.forget(catalog);
    activator.forget(catalog);
    await engine.removeCatalog(catalog);
    await registry.releaseUnused();
  }

  #change<Result>(
    catalog: string,
    change: ChangeRequest,
    task: (record: CatalogRecord) => Promise<Result>,
  ): Promise<Result> {
    const { records } = this.#deps;
    return records.mutex.run(catalog, async () => {
      const record = records.get(catalog);
      checkPrecondition(change, catalogEtag(record));
      return task(record);
    });
  }

  /** What a build does last; after a kill a second time, and then it must not bring back what was left since. */
  #activateBuilt({ catalog, catalogId, version, by }: BuiltVersion): Promise<void> {
    const { records } = this.#deps;
    return this.#change(catalog, { by }, async (record) => {
      records.same(catalog, catalogId);
      if (wasActive(record, version)) return;
      await this.#activate(record, version, records.version(record, version).model, { by });
    });
  }

  async #activate(
    record: CatalogRecord,
    version: number,
    { name, version: modelVersion }: ModelName,
    { by }: ChangeRequest,
  ): Promise<CatalogRecord> {
    const { activator, records } = this.#deps;
    const model = { name, version: modelVersion };
    const pair = { version, model, activatedAt: new Date().toISOString(), activatedBy: by };
    const activated = withActive(record, pair);
    await activator.activate(record, pair, () => records.save(activated));
    return this.#retain(activated);
  }

  #hasVersions(name: string): boolean {
    const { records } = this.#deps;
    const isBuilt = records.versions(name).length > 0 || records.damagedVersions(name).length > 0;
    return isBuilt || this.#builds.isBuilding(name);
  }

  #uploadsOf(name: string): { changesAfter: number }[] {
    return [...this.#uploads].filter(({ catalog }) => catalog === name);
  }

  /** Deletes the versions that are not kept. What fails here fails nothing: they go the next time. */
  #retain(record: CatalogRecord): CatalogRecord {
    const { store, records, changes, keepVersions, onError } = this.#deps;
    const { name } = record;
    try {
      const versions = records.versions(name).map(({ version }) => version);
      const outdated = outdatedVersions(record, versions, keepVersions, this.#deps.basesOf(name));
      if (outdated.length === 0) return record;
      const kept = withoutVersions(record, outdated);
      records.save(kept);
      for (const version of outdated) store.deleteVersion(name, version);
      changes.prune(name, [
        ...records.versions(name),
        // Which changes a damaged version has in it, nobody knows: once it is restored it may need all.
        ...records.damagedVersions(name).map(() => ({ changesAfter: 0 })),
        ...this.#builds.unfinished(name),
        ...this.#uploadsOf(name),
      ]);
      return kept;
    } catch (thrown) {
      onError(EspalierError.from(thrown), `old versions of catalog ${name} could not be deleted`);
      return record;
    }
  }

  /**
   * Uploads go on with the model that was PUT last, as their SIDs are made for it. But where that is the model
   * rolled back from, and the one before fits the same SIDs, the next upload must not bring it back.
   */
  #modelAfterRollback(
    { model, active }: CatalogRecord,
    restored: ModelName,
    { model: pin }: VersionRecord,
  ): ModelPin {
    const wasLeft = active !== null && isSameModel(active.model, model);
    if (!wasLeft || model.info?.fingerprint !== pin.info?.fingerprint) return model;
    return { ...model, name: restored.name, version: restored.version };
  }
}

/** Of what callers change and see. */
export function catalogEtag({ hasChangeLog, ...record }: CatalogRecord): string {
  return etagOf(record);
}

function newCatalog(
  name: string,
  { by }: ChangeRequest,
): Omit<CatalogRecord, 'model' | 'codebookSizes' | 'attributes'> {
  const id = randomUUID();
  return {
    name,
    id,
    active: null,
    earlier: [],
    activated: [],
    createdAt: new Date().toISOString(),
    createdBy: by,
  };
}

/** Whether a model decodes over a version: it has the fingerprint of the one that the version was built for. */
function fits({ model: pin }: VersionRecord, model: ModelPin, info: ModelInfo): boolean {
  return pin.info === undefined ? isSameModel(pin, model) : fingerprintFaults(pin.info, info).length === 0;
}

function checkCodebooks(ref: ModelRef, ofModel: readonly number[], given: readonly number[]): void {
  if (String(ofModel) === String(given)) return;
  const expected = `[${ofModel.join(', ')}], as model ${ref.name} version ${ref.version} has`;
  const found = `[${given.join(', ')}]`;
  throw fieldError('ESP_MODEL_MISFIT', 'sid.codebookSizes', expected, found);
}

/** Versions and constraint sets depend on the attributes; codebooks go with each version's model. */
function checkAttributes({ name, attributes }: CatalogRecord, definition: CatalogDefinition): void {
  const expected = canonicalJson(attributes);
  const found = canonicalJson(definition.attributes);
  if (expected === found) return;
  const message = `catalog ${name} has versions; its attributes cannot change`;
  throw new EspalierError('ESP_CATALOG_CONFLICT', message, {
    details: [{ field: 'attributes', expected, found }],
  });
}
