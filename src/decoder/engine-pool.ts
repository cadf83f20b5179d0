import { EspalierError } from '../errors.js';
import type { DeviceReport } from '../kernels/index.js';
import type { AppliedChanges, CatalogActivation, ModelRef, SetSnapshot } from './activation.js';
import type { Calibration } from './calibrate.js';
import type { BatchReply, LoadedModel } from './engine.js';
import { asEngineEnd, engineFailed as failed, isFaultOfCatalog } from './engine-faults.js';
import type { EnginePort, StartEngine } from './engine-port.js';
import type { ModelInfo } from './model-fingerprint.js';
import { ModelTrials, type ModelTrialsOptions, modelTimeout } from './model-trials.js';
import type { Recheck } from './recheck.js';
import type { RecommendQuery } from './recommend-query.js';
import { setPortions } from './set-portions.js';

export interface EnginePoolOptions {
  start: StartEngine;
  /** How models are tried before an engine that serves opens them; each may take the engine as long. */
  trials: ModelTrialsOptions;
  /** How many engines decode side by side. */
  engineCount: number;
  /** An engine that can be killed is, when a batch takes so long. */
  hangTimeoutMs: number;
  /** An engine has failed and is being replaced, or could not be replaced and will be tried again. */
  onFailure: (error: EspalierError) => void;
  /** What is wrong with a catalog that served takes it out of service. */
  onCatalogLost: (catalog: string, error: EspalierError) => void;
  /** An engine has become free. */
  onIdle: () => void;
  /** An engine has given an answer a second look. */
  onRecheck?: ((recheck: Recheck) => void) | undefined;
  /** An engine's device stands otherwise than before; see `deviceReports`. */
  onDevice?: ((report: DeviceReport) => void) | undefined;
}

/** An engine of the pool. */
interface Slot {
  engine: EnginePort;
  /** What it has been taken for: a batch, models to open. Where there is nothing, it is free for a batch. */
  tasks: number;
  /** The batch under way, or the last one; never fails. */
  batch: Promise<void>;
  /** It has failed: it gets nothing more, and another one takes its place. */
  isLost: boolean;
  /** How its device stands, where it has one. */
  device?: DeviceReport;
}

const BEING_REPLACED = 'the decode engine is being replaced';
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 30_000;

/**
 * Engines that hold the same models, catalogs and sets. One that fails loses its batch, and only that: a new one is
 * started, brought to the same state, and takes its place. The failed one is asked to end; a busy one on a thread is
 * never terminated, since that would abort the process.
 */
export class EnginePool {
  readonly #options: EnginePoolOptions;
  readonly #slots: Slot[] = [];
  /** What serves, so that an engine that starts later can be brought there. */
  readonly #serving = new Map<string, CatalogActivation>();
  /** By catalog: the last change that was applied, whatever is serving, prepared or being prepared. */
  readonly #changesUpTo = new Map<string, number>();
  /** By catalog: what is prepared, and on which engines. */
  readonly #prepared = new Map<string, { activation: CatalogActivation; slots: Set<Slot> }>();
  /** By catalog: why it was taken out of service; a commit that is under way meanwhile comes to nothing. */
  readonly #losses = new Map<string, EspalierError>();
  readonly #retries = new Set<NodeJS.Timeout>();
  readonly #trials: ModelTrials;
  /** Ends when the models end that are being opened: on one engine at a time, since the others decode meanwhile. */
  #opening: Promise<void> = Promise.resolve();
  readonly #leaving = new Map<EnginePort, Promise<void>>();
  #isClosed = false;

  constructor(options: EnginePoolOptions) {
    this.#options = options;
    this.#trials = new ModelTrials(options.trials);
    for (let count = 0; count < options.engineCount; count++) this.#slots.push(this.#startSlot());
  }

  /** Engines that take batches now or after the one under way. */
  get engineCount(): number {
    return this.#slots.length;
  }

  /** Of the engines that have a device. */
  get deviceReports(): DeviceReport[] {
    return this.#slots.flatMap(({ device }) => device ?? []);
  }

  get hasIdle(): boolean {
    return this.#slots.some(({ tasks }) => tasks === 0);
  }

  /** Checks a model, and changes no engine. @throws EspalierError as `ModelTrials.run` */
  async tryModel(ref: ModelRef): Promise<ModelInfo> {
    const { info } = await this.#trials.run(ref);
    return info;
  }

  /**
   * Opens a model on every engine, one after the other. Where something serves, it has been tried before an engine sees it.
   * @throws EspalierError as `ModelTrials.run`
   */
  async loadModel(ref: ModelRef): Promise<ModelInfo> {
    // Where nothing serves nobody waits, and a server that starts is ready sooner.
    if (this.#serving.size > 0 && this.#trials.known(ref) === undefined) await this.#trials.run(ref);
    const opened = this.#opening.then(async () => {
      let info: ModelInfo | undefined;
      for (const slot of [...this.#slots]) {
        await slot.batch;
        // Its batch has failed: who takes its place opens what it needs.
        if (!slot.isLost) ({ info } = await this.#open(slot, ref));
      }
      if (info === undefined) throw failed(BEING_REPLACED);
      return info;
    });
    this.#opening = opened.then(noMatter, noMatter);
    return opened;
  }

  /** As the trial found it, or on one engine: the others run on the same cores. */
  async calibrate(ref: ModelRef): Promise<Calibration> {
    const known = this.#trials.known(ref)?.calibration;
    if (known !== undefined) return known;
    const slot = this.#first();
    return this.#take(slot, () => slot.engine.calibrate(ref));
  }

  /** @throws EspalierError ESP_ENGINE_FAILED where an engine ends under it */
  async releaseModels(keep: readonly ModelRef[]): Promise<void> {
    await this.#onEach((engine) => engine.releaseModels(keep));
  }

  /** Folders of the models that any engine has open. @throws EspalierError ESP_ENGINE_FAILED likewise */
  async openModels(): Promise<string[]> {
    return [...new Set((await this.#onEach((engine) => engine.openModels())).flat())];
  }

  /** Does everything that can fail, on every engine. Where one cannot follow, none keeps what it has prepared. */
  async prepareCatalog(activation: CatalogActivation): Promise<void> {
    const { catalog } = activation;
    await this.loadModel(activation.model);
    const slots = new Set(this.#slots);
    const preparations = [...slots].map((slot) => this.#answer(slot, this.#prepare(slot.engine, activation)));
    try {
      await Promise.all(preparations);
      this.#prepared.set(catalog, { activation, slots });
    } catch (thrown) {
      await Promise.allSettled(preparations);
      await Promise.allSettled([...slots].map(({ engine }) => engine.discardCatalog(catalog)));
      throw thrown;
    }
  }

  /**
   * Batches that begin after this are decoded under what was prepared.
   * @throws EspalierError where it was lost at once, on an engine that came meanwhile
   */
  async commitCatalog(catalog: string): Promise<void> {
    const prepared = this.#prepared.get(catalog);
    if (prepared === undefined) {
      throw new EspalierError('ESP_INTERNAL', `catalog ${catalog} was not prepared`);
    }
    this.#prepared.delete(catalog);
    this.#losses.delete(catalog);
    const activation = this.#withLatestChanges(prepared.activation);
    // First of all: an engine that dies meanwhile is replaced by one with the new state.
    this.#serving.set(catalog, activation);
    await this.#onEachThatLives(async (slot) => {
      if (!prepared.slots.has(slot)) {
        await this.#open(slot, activation.model);
        await this.#prepare(slot.engine, activation);
      }
      await slot.engine.commitCatalog(catalog);
    });
    const loss = this.#losses.get(catalog);
    if (loss !== undefined) throw loss;
  }

  /** Forgets what was prepared and is not to serve after all. */
  async discardCatalog(catalog: string): Promise<void> {
    const prepared = this.#prepared.get(catalog);
    this.#prepared.delete(catalog);
    // An engine that is lost meanwhile has nothing to forget.
    await Promise.allSettled(
      [...(prepared?.slots ?? [])].map(({ engine }) => engine.discardCatalog(catalog)),
    );
  }

  async putSet(catalog: string, snapshot: SetSnapshot): Promise<void> {
    const serving = this.#serving.get(catalog);
    if (serving !== undefined) {
      const others = serving.sets.filter(({ name }) => name !== snapshot.name);
      this.#serving.set(catalog, { ...serving, sets: [...others, snapshot] });
    }
    await this.#onEachThatLives(({ engine }) => engine.putSet(catalog, snapshot));
  }

  async deleteSet(catalog: string, name: string): Promise<void> {
    const serving = this.#serving.get(catalog);
    if (serving !== undefined) {
      const others = serving.sets.filter((snapshot) => snapshot.name !== name);
      this.#serving.set(catalog, { ...serving, sets: others });
    }
    await this.#onEachThatLives(({ engine }) => engine.deleteSet(catalog, name));
  }

  /**
   * Puts changes in force, for what serves and for what is prepared.
   * @returns what they did, as one engine counts it; nothing where every engine is being replaced: those that come
   *   start with the changes
   * @throws EspalierError ESP_ARTIFACT_CORRUPT on a damaged log: then the catalog serves no more
   */
  async applyChanges(catalog: string, upTo: number): Promise<AppliedChanges> {
    const serving = this.#serving.get(catalog);
    if (serving?.changes === null) {
      throw new EspalierError('ESP_INTERNAL', `catalog ${catalog} was activated without a log of changes`);
    }
    this.#changesUpTo.set(catalog, Math.max(upTo, this.#changesUpTo.get(catalog) ?? 0));
    if (serving !== undefined) this.#serving.set(catalog, this.#withLatestChanges(serving));
    const applied = await this.#onEachThatLives(async ({ engine }) => {
      try {
        return await engine.applyChanges(catalog, upTo);
      } catch (thrown) {
        const error = EspalierError.from(thrown);
        // Another engine would read the same log, and fail other catalogs along with this one.
        if (error.code === 'ESP_ARTIFACT_CORRUPT') return error;
        throw error;
      }
    });
    const damage = applied.find((one) => one instanceof EspalierError);
    if (damage !== undefined) {
      // Nobody knows what was removed from it.
      await this.removeCatalog(catalog);
      this.#lost(catalog, damage);
      throw damage;
    }
    return (applied[0] as AppliedChanges | undefined) ?? { sets: [], removedItems: 0 };
  }

  async removeCatalog(catalog: string): Promise<void> {
    this.#serving.delete(catalog);
    this.#prepared.delete(catalog);
    this.#changesUpTo.delete(catalog);
    this.#losses.delete(catalog);
    await this.#onEachThatLives(({ engine }) => engine.removeCatalog(catalog));
  }

  /**
   * Gives a batch to a free engine.
   * @param onStart gets what takes a request out of the batch.
   * @throws EspalierError ESP_ENGINE_FAILED where the engine fails; it is replaced.
   */
  async recommendBatch(
    queries: readonly RecommendQuery[],
    onStart: (cancel: (requestId: string) => void) => void,
  ): Promise<BatchReply> {
    const slot = this.#slots.find(({ tasks }) => tasks === 0);
    if (slot === undefined) throw new EspalierError('ESP_INTERNAL', 'no engine is free');
    slot.tasks++;
    const decoding = this.#decode(slot, queries, onStart);
    slot.batch = decoding.then(noMatter, noMatter);
    return decoding;
  }

  /**
   * Ends every engine after what it has.
   * @param graceMs one that can be killed is, when it takes longer
   */
  async close(graceMs = this.#options.hangTimeoutMs): Promise<void> {
    this.#isClosed = true;
    this.#trials.close();
    for (const retry of this.#retries) clearTimeout(retry);
    const timer = setTimeout(() => this.kill(), graceMs);
    await Promise.all(this.#slots.map(({ engine }) => engine.close()));
    await Promise.all(this.#leaving.values());
    clearTimeout(timer);
  }

  /** Ends at once every engine that can be ended so. */
  kill(): void {
    this.#trials.close();
    for (const engine of [...this.#slots.map(({ engine }) => engine), ...this.#leaving.keys()])
      engine.kill?.();
  }

  #startSlot(): Slot {
    const slot: Slot = {
      engine: this.#options.start(
        (error) => this.#replace(slot, failed(error.message, error)),
        (event) => {
          if ('recheck' in event) {
            this.#options.onRecheck?.(event.recheck);
            return;
          }
          slot.device = event.device;
          this.#options.onDevice?.(event.device);
        },
      ),
      tasks: 0,
      batch: Promise.resolve(),
      isLost: false,
    };
    return slot;
  }

  async #decode(
    slot: Slot,
    queries: readonly RecommendQuery[],
    onStart: (cancel: (requestId: string) => void) => void,
  ): Promise<BatchReply> {
    const { engine } = slot;
    // An engine that opens a model gets no batch: the time that it takes for that is not the batch's.
    const watchdog = engine.kill && setTimeout(() => engine.kill?.(), this.#options.hangTimeoutMs);
    try {
      onStart((requestId) => engine.cancel(requestId));
      return await engine.recommendBatch(queries);
    } catch (thrown) {
      const cause = EspalierError.from(thrown);
      this.#replace(slot, failed(cause.message, cause));
      // What a runtime says of its inside is for the log.
      throw failed('the decode engine failed under this batch of requests; try again', cause);
    } finally {
      clearTimeout(watchdog);
      slot.tasks--;
      if (!slot.isLost) this.#options.onIdle();
    }
  }

  /** Opens a model on an engine, which takes no batch meanwhile. One that cannot come to an end of it is replaced. */
  #open(slot: Slot, ref: ModelRef): Promise<LoadedModel> {
    return this.#take(slot, async () => {
      const { timeoutMs } = this.#options.trials;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<never>((_, reject) => {
        timer = setTimeout(() => {
          const error = modelTimeout(ref, timeoutMs);
          this.#replace(slot, failed(error.message, error));
          slot.engine.kill?.();
          reject(error);
        }, timeoutMs);
      });
      try {
        const loading = slot.engine.loadModel(ref, this.#trials.known(ref));
        const loaded = await Promise.race([loading, late]);
        if (this.#trials.known(ref) === undefined) this.#trials.keep(loaded);
        return loaded;
      } finally {
        clearTimeout(timer);
      }
    });
  }

  /** Lets an engine end its batch, and gives it no other one until `task` ends: none is to wait behind that. */
  async #take<Result>(slot: Slot, task: () => Promise<Result>): Promise<Result> {
    slot.tasks++;
    try {
      await slot.batch;
      if (slot.isLost) throw failed(BEING_REPLACED);
      return await this.#answer(slot, task());
    } finally {
      slot.tasks--;
      if (!slot.isLost) this.#options.onIdle();
    }
  }

  #replace(slot: Slot, failure: EspalierError): void {
    if (slot.isLost || this.#isClosed) return;
    slot.isLost = true;
    const index = this.#slots.indexOf(slot);
    // One that was still joining is tried again by whoever had it join.
    if (index >= 0) this.#slots.splice(index, 1);
    const { engine } = slot;
    this.#leaving.set(
      engine,
      engine.close().finally(() => this.#leaving.delete(engine)),
    );
    this.#options.onFailure(failure);
    if (index >= 0) void this.#join(FIRST_RETRY_MS);
  }

  /** Starts an engine and brings it to what serves, before it gets its first batch. */
  async #join(retryMs: number): Promise<void> {
    if (this.#isClosed) return;
    const slot = this.#startSlot();
    const done = new Map<string, CatalogActivation>();
    try {
      // What serves may change meanwhile.
      for (let next = this.#behind(done); next !== undefined; next = this.#behind(done)) await next(slot);
      if (slot.isLost) throw failed('a decode engine ended while it started');
    } catch (thrown) {
      this.#replace(slot, EspalierError.from(thrown));
      if (this.#isClosed) return;
      const retry = setTimeout(() => {
        this.#retries.delete(retry);
        void this.#join(Math.min(retryMs * 2, LAST_RETRY_MS));
      }, retryMs);
      this.#retries.add(retry);
      return;
    }
    if (this.#isClosed) {
      await slot.engine.close();
      return;
    }
    this.#slots.push(slot);
    this.#options.onIdle();
  }

  /** Brings a catalog version to an engine in pieces, so that neither it nor this thread is busy for long. */
  async #prepare(engine: EnginePort, activation: CatalogActivation): Promise<void> {
    const { catalog, sets } = activation;
    await engine.openCatalog({ ...activation, sets: [] });
    for (const portion of setPortions(sets)) await engine.openSets(catalog, portion);
    // Changes that came meanwhile have passed this engine by.
    await engine.prepareCatalog({ ...this.#withLatestChanges(activation), sets: [] });
  }

  /** What brings an engine that has done some of it a step nearer to what serves. */
  #behind(done: Map<string, CatalogActivation>): ((slot: Slot) => Promise<void>) | undefined {
    for (const [catalog, activation] of this.#serving) {
      const before = done.get(catalog);
      if (before === activation) continue;
      return async (slot) => {
        try {
          await this.#bring(slot, before, activation);
          done.set(catalog, activation);
        } catch (thrown) {
          await this.#leaveOut(slot, activation, EspalierError.from(thrown));
          done.delete(catalog);
        }
      };
    }
    const gone = [...done.keys()].find((catalog) => !this.#serving.has(catalog));
    if (gone === undefined) return undefined;
    return async ({ engine }) => {
      await engine.removeCatalog(gone);
      done.delete(gone);
    };
  }

  async #bring(slot: Slot, before: CatalogActivation | undefined, to: CatalogActivation): Promise<void> {
    const { engine } = slot;
    const { catalog, model, changes } = to;
    if (before !== undefined && differInChangesOnly(before, to)) {
      await engine.applyChanges(catalog, changes!.upTo);
      return;
    }
    await this.#open(slot, model);
    await this.#prepare(engine, to);
    await engine.commitCatalog(catalog);
  }

  /**
   * A catalog that an engine cannot be brought to must not keep it from serving the others. From then on no engine
   * serves it, though the others may have all that they need of it in memory: chance says which of them gets a request,
   * and must not say whether it is answered.
   * @throws EspalierError where the fault is the engine's own
   */
  async #leaveOut(slot: Slot, activation: CatalogActivation, error: EspalierError): Promise<void> {
    if (!isFaultOfCatalog(error)) throw error;
    const { catalog } = activation;
    const serving = this.#serving.get(catalog);
    // What was activated meanwhile is tried next.
    if (serving !== undefined && isSamePair(serving, activation)) {
      this.#serving.delete(catalog);
      // A busy engine comes to it after its batch. What is prepared stays: it may be what puts the catalog right.
      void this.#onEachThatLives(({ engine }) => engine.stopCatalog(catalog));
      this.#lost(catalog, error);
    }
    // The model hung.
    if (slot.isLost) throw error;
    await slot.engine.removeCatalog(catalog);
  }

  #lost(catalog: string, error: EspalierError): void {
    this.#losses.set(catalog, error);
    this.#options.onCatalogLost(catalog, error);
  }

  #withLatestChanges(activation: CatalogActivation): CatalogActivation {
    const { catalog, changes } = activation;
    if (changes === null) return activation;
    const upTo = Math.max(changes.upTo, this.#changesUpTo.get(catalog) ?? 0);
    return upTo === changes.upTo ? activation : { ...activation, changes: { ...changes, upTo } };
  }

  #first(): Slot {
    const [slot] = this.#slots;
    if (slot === undefined) throw failed(BEING_REPLACED);
    return slot;
  }

  #onEach<Result>(call: (engine: EnginePort) => Promise<Result>): Promise<Result[]> {
    this.#first();
    return Promise.all(this.#slots.map((slot) => this.#answer(slot, call(slot.engine))));
  }

  /** @throws EspalierError what the call does; ESP_ENGINE_FAILED where the engine was lost under it */
  async #answer<Result>(slot: Slot, call: Promise<Result>): Promise<Result> {
    try {
      return await call;
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      throw slot.isLost ? asEngineEnd(error) : error;
    }
  }

  /**
   * An engine that cannot follow what serves is replaced by one that does.
   * @returns the results of those that can
   */
  async #onEachThatLives<Result>(call: (slot: Slot) => Promise<Result>): Promise<Result[]> {
    const results: Result[] = [];
    await Promise.all(
      [...this.#slots].map(async (slot) => {
        try {
          results.push(await call(slot));
        } catch (thrown) {
          this.#replace(slot, EspalierError.from(thrown));
        }
      }),
    );
    return results;
  }
}

/** A joining engine need not open anew what other changes came to while it opened. */
function differInChangesOnly(a: CatalogActivation, b: CatalogActivation): boolean {
  return isSamePair(a, b) && a.sets === b.sets;
}

/** Of one activation, whatever sets and changes have come since. */
function isSamePair(a: CatalogActivation, b: CatalogActivation): boolean {
  return a.path === b.path && a.version === b.version && a.model === b.model;
}

function noMatter(): void {}
