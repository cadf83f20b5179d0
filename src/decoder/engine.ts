import { EspalierError, type PlainError } from '../errors.js';
import { type CudaFinding, chooseKernel, type DeviceReport, type Kernel } from '../kernels/index.js';
import { openCatalogFile, openCatalogFileInTurns, orReadFailure, readFailure } from '../static-trie/index.js';
import type { AppliedChanges, CatalogActivation, ModelRef, SetSnapshot } from './activation.js';
import { ActiveCatalog } from './active-catalog.js';
import { AnswerRechecks } from './answer-rechecks.js';
import { type Calibration, calibrate } from './calibrate.js';
import type { DecodeReport } from './decode-report.js';
import { DeviceSets } from './device-sets.js';
import { DeviceWatch } from './device-watch.js';
import { stampFolder } from './folder-stamp.js';
import type { Model } from './model.js';
import { fingerprintFaults, fingerprintModel, type ModelInfo } from './model-fingerprint.js';
import type { ProbeResult } from './model-probe.js';
import { OpenModels } from './open-models.js';
import { PrefillCache } from './prefill-cache.js';
import type { Recheck } from './recheck.js';
import { Recommender } from './recommend.js';
import type { RecommendAnswer, RecommendQuery } from './recommend-query.js';

export interface EngineOptions {
  /** Threads that one model run may use. */
  threads: number;
  /** Threads that one decode step may use, the engine's own among them. */
  stepThreads: number;
  /** Bytes of read histories that are kept. */
  prefillCacheBytes: number;
  /** Of the answers, which are looked at again; by default 0. */
  recheckShare?: number;
  /** The GPU that the process has found; absent: none is used unless `ESPALIER_KERNELS` asks for it. */
  cuda?: CudaFinding | undefined;
}

/** What an engine says of its own accord. */
export type EngineEvent = { recheck: Recheck } | { device: DeviceReport };

/** A model that is open in an engine, and what opening it has told. */
export interface LoadedModel {
  info: ModelInfo;
  probe: ProbeResult;
  /** Of its folder, before it was opened. @see stampFolder */
  stamp: string;
}

/** One request of a batch: its answer, or its own error. */
export type QueryResult = { answer: RecommendAnswer } | { error: PlainError };

export interface BatchReply {
  /** In the queries' order. */
  results: QueryResult[];
  report: DecodeReport;
  prefillCacheBytes: number;
  /** Wall time in the engine. */
  durationMs: number;
}

/**
 * Models, active catalogs and their sets, and the decodes over them. It lives on a thread or in a process of its own,
 * because a model run blocks the thread it is called on. Calls run one after the other, `cancel` excepted.
 */
export class DecodeEngine {
  readonly #kernel: Kernel;
  readonly #deviceSets: DeviceSets;
  readonly #deviceWatch: DeviceWatch;
  readonly #models: OpenModels;
  readonly #prefills: PrefillCache;
  readonly #recommender: Recommender;
  readonly #active = new Map<string, ActiveCatalog>();
  readonly #prepared = new Map<string, ActiveCatalog>();
  /** Opened ahead of being prepared. */
  readonly #opened = new Map<string, { path: string; active: ActiveCatalog }>();
  readonly #calibrations = new WeakMap<Model, Calibration>();
  /** Models of the batch under way. */
  #running = new Set<Model>();
  /** Requests of the batch under way, and those of them that nobody waits for any more. */
  #decoding = new Set<string>();
  readonly #cancelled = new Set<string>();
  readonly #rechecks: AnswerRechecks;

  /** @param tell gets what the second look at an answer came to, and how the device stands whenever that changes */
  constructor(
    { threads, stepThreads, prefillCacheBytes, recheckShare = 0, cuda }: EngineOptions,
    tell: (event: EngineEvent) => void = () => {},
    kernel: Kernel = chooseKernel(undefined, stepThreads, cuda),
  ) {
    this.#kernel = kernel;
    this.#deviceSets = new DeviceSets(kernel.device);
    this.#deviceWatch = new DeviceWatch(kernel.device, (device) => tell({ device }));
    this.#rechecks = new AnswerRechecks(recheckShare, (recheck) => tell({ recheck }));
    this.#models = new OpenModels(threads);
    this.#prefills = new PrefillCache(prefillCacheBytes);
    this.#recommender = new Recommender(kernel, this.#prefills);
  }

  /**
   * Opens a model, or takes the one that is open, and checks it.
   * @param tried what another engine has found: of the same files, the model is not tried again
   */
  async loadModel(ref: ModelRef, tried?: LoadedModel): Promise<LoadedModel> {
    const stamp = stampFolder(ref.folder);
    const { manifest, vocabSize, batchesRagged } = await this.#models.get(ref, tried);
    return { info: fingerprintModel(manifest, vocabSize), probe: { vocabSize, batchesRagged }, stamp };
  }

  /** Measures, once for each model, how many rows are worth decoding together. */
  async calibrate(ref: ModelRef): Promise<Calibration> {
    const model = await this.#models.get(ref);
    let calibration = this.#calibrations.get(model);
    if (calibration === undefined) {
      calibration = await calibrate(model);
      this.#calibrations.set(model, calibration);
    }
    return calibration;
  }

  /** Closes every open model that is neither kept nor used by a catalog or by a request that runs. */
  async releaseModels(keep: readonly ModelRef[]): Promise<void> {
    const opened = Array.from(this.#opened.values(), ({ active }) => active);
    const users = [...this.#active.values(), ...this.#prepared.values(), ...opened];
    const used = new Set([...this.#running, ...users.map(({ model }) => model)]);
    for (const model of await this.#models.release(keep, used)) this.#prefills.forget(model);
  }

  /** Folders of the models that are open. */
  openModels(): string[] {
    return this.#models.folders();
  }

  /**
   * Does for `prepareCatalog` what takes long, in turns: maps the file, which was verified, and puts changes in force.
   * Batches that come meanwhile are decoded between them.
   * @param activation its sets go to `openSets`
   * @throws EspalierError ESP_ARTIFACT_CORRUPT
   */
  async openCatalog(activation: CatalogActivation): Promise<void> {
    const { catalog, path, model: ref, changes } = activation;
    const model = await this.#models.get(ref);
    const version = await openCatalogFileInTurns(path).catch((thrown) => {
      throw readFailure(path, thrown);
    });
    try {
      await this.#kernel.device?.prepareTrie(version.trie);
      const unchanged = changes && { ...changes, upTo: changes.after };
      const opened = new ActiveCatalog({ ...activation, sets: [], changes: unchanged }, version, model);
      if (changes !== null) await opened.applyChangesInTurns(changes.upTo);
      this.#dropOpened(catalog);
      this.#opened.set(catalog, { path, active: opened });
    } catch (thrown) {
      this.#kernel.device?.release(version.trie);
      throw thrown;
    }
  }

  /** Puts sets into what was opened: a few, so that no batch waits long. */
  openSets(catalog: string, snapshots: readonly SetSnapshot[]): void {
    const opened = this.#opened.get(catalog);
    if (opened === undefined) throw new EspalierError('ESP_INTERNAL', `catalog ${catalog} was not opened`);
    opened.active.putSets(snapshots);
  }

  /**
   * First half of an activation: does everything that can fail, and changes nothing that serves. Changes to the
   * catalog are in force in what is prepared.
   * @param activation of what was opened, with the changes and the sets that came since
   */
  async prepareCatalog(activation: CatalogActivation): Promise<void> {
    const { catalog, path, model: ref, modelInfo, changes, sets } = activation;
    const model = await this.#models.get(ref);
    if (modelInfo !== undefined) checkFingerprint(catalog, model, modelInfo);
    const opened = this.#takeOpened(activation, model);
    const version = opened?.items ?? orReadFailure(path, () => openCatalogFile(path));
    try {
      checkCodebooks(catalog, version.trie.codebookSizes, model);
      if (changes !== null) opened?.applyChanges(changes.upTo);
      opened?.putSets(sets);
      const prepared = opened ?? new ActiveCatalog(activation, version, model);
      this.#prepareOnDevice(prepared);
      this.#retire(this.#prepared.get(catalog));
      this.#prepared.set(catalog, prepared);
    } catch (thrown) {
      this.#kernel.device?.release(version.trie);
      throw thrown;
    }
  }

  /** Second half: what was prepared serves from the next request on. */
  commitCatalog(catalog: string): void {
    const prepared = this.#prepared.get(catalog);
    if (prepared === undefined)
      throw new EspalierError('ESP_INTERNAL', `catalog ${catalog} was not prepared`);
    this.#prepared.delete(catalog);
    this.#retire(this.#active.get(catalog));
    this.#active.set(catalog, prepared);
  }

  /** Forgets what was prepared, where another engine could not follow, or it is not to serve after all. */
  discardCatalog(catalog: string): void {
    this.#dropOpened(catalog);
    this.#retire(this.#prepared.get(catalog));
    this.#prepared.delete(catalog);
  }

  putSet(catalog: string, snapshot: SetSnapshot): void {
    const active = this.#active.get(catalog);
    active?.putSets([snapshot]);
    this.#deviceSets.dropReplaced(active);
    const set = active?.snapshot.sets.get(snapshot.name)?.set;
    if (set !== undefined) this.#deviceSets.prepare(active!, set);
    this.#deviceWatch.look();
  }

  deleteSet(catalog: string, name: string): void {
    const active = this.#active.get(catalog);
    active?.deleteSet(name);
    this.#deviceSets.dropReplaced(active);
    this.#deviceWatch.look();
  }

  /**
   * Puts in force what the catalog's log says up to a change, also for what is prepared.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT on a damaged log
   */
  applyChanges(catalog: string, upTo: number): AppliedChanges {
    const active = this.#active.get(catalog);
    const prepared = this.#prepared.get(catalog);
    const applied = active?.applyChanges(upTo) ?? { sets: [], removedItems: 0 };
    this.#deviceSets.dropReplaced(active);
    prepared?.applyChanges(upTo);
    this.#deviceSets.dropReplaced(prepared);
    return applied;
  }

  /** The catalog serves no more; its model goes with `releaseModels`. */
  removeCatalog(catalog: string): void {
    this.discardCatalog(catalog);
    this.stopCatalog(catalog);
  }

  /** The catalog serves no more; what is prepared for it may. */
  stopCatalog(catalog: string): void {
    this.#retire(this.#active.get(catalog));
    this.#active.delete(catalog);
  }

  /** Answers requests together, each under the catalog version that is active now. @throws what a model throws */
  async recommendBatch(queries: readonly RecommendQuery[]): Promise<BatchReply> {
    const startMs = performance.now();
    const pinned = queries.map((query) => {
      const catalog = this.#active.get(query.catalog);
      if (catalog !== undefined) return { catalog, query };
      return new EspalierError('ESP_CATALOG_INACTIVE', `catalog ${query.catalog} has no active version`);
    });
    this.#decoding = new Set(queries.map(({ requestId }) => requestId));
    this.#running = new Set(
      pinned.flatMap((one) => (one instanceof EspalierError ? [] : [one.catalog.model])),
    );
    try {
      const { answers, requests, report } = await this.#recommender.answer(pinned, (id) =>
        this.#cancelled.has(id),
      );
      this.#deviceSets.afterBatch(requests);
      this.#rechecks.sample(requests, answers);
      this.#deviceWatch.lookSometimes();
      return {
        results: answers.map((answer) =>
          answer instanceof EspalierError ? { error: answer.toPlain() } : { answer },
        ),
        report,
        prefillCacheBytes: this.#prefills.bytes,
        durationMs: performance.now() - startMs,
      };
    } finally {
      this.#decoding.clear();
      this.#cancelled.clear();
      this.#running.clear();
    }
  }

  /** One request alone. @throws EspalierError its error */
  async recommend(query: RecommendQuery): Promise<RecommendAnswer> {
    const { results } = await this.recommendBatch([query]);
    if ('error' in results[0]) throw EspalierError.fromPlain(results[0].error);
    return results[0].answer;
  }

  /** Takes a request out of the batch under way, before its next model run; one that isn't there is none's loss. */
  cancel(requestId: string): void {
    if (this.#decoding.has(requestId)) this.#cancelled.add(requestId);
  }

  /** What was opened for the activation; anything else is closed. */
  #takeOpened({ catalog, path, version }: CatalogActivation, model: Model): ActiveCatalog | undefined {
    const opened = this.#opened.get(catalog);
    if (opened?.path !== path || opened.active.version !== version || opened.active.model !== model) {
      this.#dropOpened(catalog);
      return undefined;
    }
    this.#opened.delete(catalog);
    return opened.active;
  }

  #dropOpened(catalog: string): void {
    const opened = this.#opened.get(catalog);
    this.#opened.delete(catalog);
    if (opened !== undefined) this.#kernel.device?.release(opened.active.items.trie);
  }

  /** Of a catalog version that no batch will read any more: calls run one after the other. */
  #retire(catalog: ActiveCatalog | undefined): void {
    if (catalog !== undefined) {
      this.#kernel.device?.release(catalog.items.trie);
      this.#deviceSets.forget(catalog);
    }
    this.#deviceWatch.look();
  }

  /** Whether its steps run there, and what they need that is not there yet. */
  #prepareOnDevice(catalog: ActiveCatalog): void {
    const { device } = this.#kernel;
    if (device === undefined) return;
    const { vocabSize, levelTokens } = catalog.model;
    device.decide(catalog.items.trie, { vocabSize, tokens: levelTokens });
    let bytes = 0;
    for (const { set } of catalog.snapshot.sets.values()) {
      // Further ones go there with their first request.
      if (bytes > PREPARED_SET_BYTES) break;
      bytes += this.#deviceSets.prepare(catalog, set);
    }
    this.#deviceWatch.look();
  }

  async close(): Promise<void> {
    this.#active.clear();
    this.#prepared.clear();
    this.#opened.clear();
    this.#kernel.device?.close();
    await this.#models.close();
  }
}

/** Sets that an activation brings to a device: what takes a few dozen milliseconds, during which no batch begins. */
const PREPARED_SET_BYTES = 2 ** 28;

function checkFingerprint(catalog: string, { manifest, vocabSize }: Model, expected: ModelInfo): void {
  const details = fingerprintFaults(expected, fingerprintModel(manifest, vocabSize));
  if (details.length === 0) return;
  const message = `model ${manifest.name} is not the one that catalog ${catalog} was activated with`;
  throw new EspalierError('ESP_MODEL_MISFIT', message, { details });
}

function checkCodebooks(catalog: string, codebookSizes: readonly number[], { manifest }: Model): void {
  const expected = manifest.sid.codebookSizes.join(', ');
  const found = codebookSizes.join(', ');
  if (expected === found) return;
  throw new EspalierError('ESP_MODEL_MISFIT', `model ${manifest.name} does not fit catalog ${catalog}`, {
    details: [{ field: 'sid.codebookSizes', expected: `[${expected}] (the model's)`, found: `[${found}]` }],
  });
}
