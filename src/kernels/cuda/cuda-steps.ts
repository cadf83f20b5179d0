import { EspalierError } from '../../errors.js';
import type { Kernel, StepInput } from '../kernel.js';
import { type Addon, type CudaContextHandle, callNative } from '../native/addon.js';
import type { StepBatch } from '../step-batch.js';
import type { DeviceReport, StepDevice, StepShape } from '../step-device.js';
import type { Constraint, LiveLeaves, TrieArrays } from '../types.js';
import { compareSteps } from './compare-steps.js';
import { DeviceObjects } from './device-objects.js';
import { DeviceStep } from './device-step.js';
import { WeakEntries } from './weak-entries.js';

const DEVICE = 0;

export interface CudaStepsOptions {
  addon: Addon;
  /** The library's path, and what to call its device. */
  library: string;
  deviceName: string;
  /** What steps run on otherwise. */
  host: Pick<Kernel, 'stepName' | 'step'>;
  /** Steps run on the device wherever they can; else only over tries for which that was decided. */
  isForced: boolean;
}

/** Open from the first trie on. */
interface Opened {
  context: CudaContextHandle;
  objects: DeviceObjects;
  step: DeviceStep;
}

/**
 * Decode steps on a GPU, and on the CPU where the GPU is slower, full or broken. A step that fails there is made again
 * on the CPU, so that requests are answered all the same. Where memory was short, only what needed it runs on the CPU;
 * where the GPU broke, the CPU runs all steps from then on.
 */
export class CudaSteps implements StepDevice {
  readonly #options: CudaStepsOptions;
  #opened: Opened | undefined;
  /** Where the steps over a trie run, once that is known. */
  readonly #places = new WeakEntries<TrieArrays, 'device' | 'host'>();
  /** Sets for which the device has no room. */
  readonly #hostSets = new WeakSet<LiveLeaves>();
  /** Tries that were prepared and not released, of those whose steps run on the device. */
  readonly #prepared = new Set<TrieArrays>();
  /** By shape of model and size of trie: whether the device's steps are faster. */
  readonly #decisions = new Map<string, boolean>();
  #failure: EspalierError | undefined;
  #message: string;
  #isProblem = false;

  constructor(options: CudaStepsOptions) {
    this.#options = options;
    this.#message = `${options.deviceName} is ready`;
  }

  get stepName(): string {
    const { isForced, host } = this.#options;
    if (this.#failure !== undefined) return host.stepName;
    if (this.#prepared.size > 0) return 'cuda';
    // Forced, steps go there until there is a trie for which it has no room.
    const isRefused = this.#places.keys().some((trie) => this.#places.get(trie) === 'host');
    return isForced && !isRefused ? 'cuda' : host.stepName;
  }

  /** @throws EspalierError ESP_SHAPE as every step, and nothing else */
  step(batch: StepBatch, input: StepInput): void {
    const { host } = this.#options;
    if (!this.#runsOnDevice(batch)) {
      host.step(batch, input);
      return;
    }
    const { step } = this.#opened!;
    try {
      this.#withRoom(batch.constraints, () => step.run(batch, input));
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      if (error.code === 'ESP_SHAPE') throw error;
      if (error.code === 'ESP_MEMORY') this.#sayWhatIsFull('a step', error);
      else this.#fail(error);
      host.step(batch, input);
    }
  }

  async prepareTrie(trie: TrieArrays): Promise<void> {
    if (this.#failure !== undefined || this.#hasLost(trie)) return;
    try {
      const { objects } = this.#open();
      try {
        await objects.upload(trie);
      } catch (thrown) {
        if (!isFull(thrown) || !objects.dropUnused([])) throw thrown;
        await objects.upload(trie);
      }
    } catch (thrown) {
      this.#refuse(trie, EspalierError.from(thrown));
    }
  }

  decide(trie: TrieArrays, shape: StepShape): void {
    if (this.#failure !== undefined || this.#places.get(trie) === 'host') return;
    const key = `${likenessOf(trie)}${shape.vocabSize}`;
    try {
      let isFaster = this.#decisions.get(key);
      if (isFaster === undefined) {
        isFaster = this.#withRoom([], () => this.#compare(trie, shape));
        this.#decisions.set(key, isFaster);
      }
      if (isFaster || this.#options.isForced) this.#engage(trie);
      else this.#settleOnHost(trie);
    } catch (thrown) {
      this.#refuse(trie, EspalierError.from(thrown));
    }
  }

  prepareSet(constraint: Constraint): number {
    const { trie, live } = constraint;
    const isWanted = live !== null && this.#places.get(trie) === 'device';
    if (!isWanted || this.#failure !== undefined || !this.#place(constraint, [])) return 0;
    this.#open().objects.keepSet(live);
    return live.leafBits.byteLength + live.nodeBits.byteLength + live.rootMask.byteLength;
  }

  dropSet(live: LiveLeaves): void {
    this.#hostSets.delete(live);
    this.#opened?.objects.dropSet(live);
  }

  release(trie: TrieArrays): void {
    this.#prepared.delete(trie);
    this.#places.delete(trie);
    this.#opened?.objects.release(trie);
  }

  report(): DeviceReport {
    const isRunning = this.#prepared.size > 0;
    return {
      state: this.#failure !== undefined ? 'failed' : isRunning ? 'running' : 'ready',
      message: this.#message,
      isProblem: this.#isProblem,
      stepName: this.stepName,
      memory: this.#memory(),
    };
  }

  close(): void {
    if (this.#opened === undefined) return;
    const { context, objects, step } = this.#opened;
    this.#opened = undefined;
    this.#prepared.clear();
    objects.close();
    step.close();
    callNative(() => this.#options.addon.cudaDispose(context));
  }

  /** @throws EspalierError where the device cannot be opened */
  #open(): Opened {
    if (this.#opened === undefined) {
      const { addon, library } = this.#options;
      const context = callNative(() => addon.cudaOpen(library, DEVICE));
      const objects = new DeviceObjects(addon, context);
      this.#opened = { context, objects, step: new DeviceStep(addon, context, objects) };
    }
    return this.#opened;
  }

  /** Brings there what is not there yet, once it is known that all of it is wanted there. */
  #runsOnDevice(batch: StepBatch): boolean {
    const { constraints } = batch;
    if (this.#failure !== undefined || constraints.length === 0) return false;
    const runs =
      constraints.every((constraint) => this.#isWanted(constraint)) &&
      constraints.every((constraint) => this.#place(constraint, constraints));
    if (!runs) this.#opened?.step.leave(batch);
    return runs;
  }

  #isWanted({ trie, live }: Constraint): boolean {
    const place = this.#places.get(trie) ?? (this.#options.isForced ? 'device' : 'host');
    return place === 'device' && (live === null || !this.#hostSets.has(live));
  }

  /** @param used what must stay there @returns false where there is no room for it */
  #place(constraint: Constraint, used: readonly Constraint[]): boolean {
    try {
      this.#withRoom(used, () => this.#open().objects.constraintOf(constraint));
      return true;
    } catch (thrown) {
      const error = EspalierError.from(thrown);
      if (error.code === 'ESP_SHAPE') throw error;
      const { trie, live } = constraint;
      const objects = this.#opened?.objects;
      if (error.code !== 'ESP_MEMORY') this.#fail(error);
      else if (objects === undefined || !objects.hasTrie(trie)) this.#refuse(trie, error);
      else if (live === null || objects.hasSet(constraint)) this.#sayWhatIsFull('a request', error);
      else {
        this.#hostSets.add(live);
        this.#sayWhatIsFull('a constraint set', error);
      }
      return false;
    }
  }

  /** Does it once more where there was no room, and something could be freed that nobody uses. */
  #withRoom<Result>(used: readonly Constraint[], act: () => Result): Result {
    try {
      return act();
    } catch (thrown) {
      if (!isFull(thrown) || !this.#opened?.objects.dropUnused(used)) throw thrown;
      return act();
    }
  }

  /** @returns whether the device's steps are faster @throws EspalierError as steps do */
  #compare(trie: TrieArrays, shape: StepShape): boolean {
    const { host, deviceName } = this.#options;
    const { step } = this.#open();
    const run: Kernel['step'] = (batch, input) => step.run(batch, input);
    const { difference, beams, deviceMs, hostMs } = compareSteps(run, host.step, trie, shape);
    if (difference !== null) {
      throw new EspalierError('ESP_INTERNAL', `the GPU's steps are wrong, ${difference}`);
    }
    const what = `the ${trie.levelCount} steps of ${beams} beams over ${shape.vocabSize} tokens`;
    const times = `${inUs(deviceMs)} on ${deviceName} and ${inUs(hostMs)} with ${host.stepName}`;
    this.#say(`${what} take ${times}`, false);
    return deviceMs < hostMs;
  }

  #engage(trie: TrieArrays): void {
    // It may not have been prepared: now it is.
    this.#withRoom([], () => this.#open().objects.constraintOf({ trie, live: null, dead: null }));
    this.#places.set(trie, 'device');
    this.#prepared.add(trie);
  }

  #settleOnHost(trie: TrieArrays): void {
    this.release(trie);
    this.#places.set(trie, 'host');
  }

  /** In vain would a trie go there. */
  #hasLost(trie: TrieArrays): boolean {
    if (this.#options.isForced) return false;
    const prefix = likenessOf(trie);
    const decided = [...this.#decisions].filter(([key]) => key.startsWith(prefix));
    return decided.length > 0 && decided.every(([, isFaster]) => !isFaster);
  }

  /** No room for one trie is no reason against the others. */
  #refuse(trie: TrieArrays, error: EspalierError): void {
    if (error.code !== 'ESP_MEMORY') {
      this.#fail(error);
      return;
    }
    this.#settleOnHost(trie);
    this.#sayWhatIsFull('a catalog', error);
  }

  /** The device is not asked again. */
  #fail(error: EspalierError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#say(
      `the GPU failed, and steps run with ${this.#options.host.stepName}: ${error.code}: ${error.message}`,
      true,
    );
    try {
      this.close();
    } catch {
      // What is broken cannot always be put away.
    }
  }

  #sayWhatIsFull(what: string, error: EspalierError): void {
    this.#say(`${what} runs with ${this.#options.host.stepName}: ${error.message}`, true);
  }

  #say(message: string, isProblem: boolean): void {
    this.#message = message;
    this.#isProblem = isProblem;
  }

  #memory(): DeviceReport['memory'] {
    try {
      return this.#opened?.objects.memory() ?? null;
    } catch {
      return null;
    }
  }
}

function isFull(thrown: unknown): boolean {
  return EspalierError.from(thrown).code === 'ESP_MEMORY';
}

/**
 * What tries have in common of which one stands for all: a step over a few leaves tells nothing of one over millions,
 * and a catalog that grows a little is not to be compared anew at each activation.
 */
function likenessOf({ codebookSizes, leafCount }: TrieArrays): string {
  const leafBits = 32 - Math.clz32(leafCount);
  return `${codebookSizes.join(',')}/${leafBits}/`;
}

function inUs(ms: number): string {
  return `${(ms * 1000).toFixed(0)} µs`;
}
