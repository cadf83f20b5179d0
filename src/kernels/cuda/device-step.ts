import type { StepInput } from '../kernel.js';
import {
  type Addon,
  type CudaBatchHandle,
  type CudaContextHandle,
  type CudaStepperHandle,
  callNative,
} from '../native/addon.js';
import { areSame } from '../native/native-step.js';
import type { StepBatch } from '../step-batch.js';
import type { Constraint } from '../types.js';
import type { DeviceObjects } from './device-objects.js';

interface BoundBatch {
  handle: CudaBatchHandle;
  /** Those that the native side has been told of, and when. */
  constraints: readonly Constraint[];
  disposals: number;
}

/** Steps on a device, from and to host memory. */
export class DeviceStep {
  readonly #addon: Addon;
  readonly #objects: DeviceObjects;
  readonly #stepper: CudaStepperHandle;
  readonly #batches = new WeakMap<StepBatch, BoundBatch>();

  /** @throws EspalierError ESP_MEMORY, ESP_SYSTEM */
  constructor(addon: Addon, context: CudaContextHandle, objects: DeviceObjects) {
    this.#addon = addon;
    this.#objects = objects;
    this.#stepper = callNative(() => addon.cudaCreateStepper(context));
  }

  /** @throws EspalierError ESP_SHAPE as every step; ESP_MEMORY, ESP_SYSTEM where the device fails */
  run(batch: StepBatch, { depth, logits, vocabSize, tokens }: StepInput): void {
    const handle = this.#bind(batch);
    const tokensOf = 'table' in tokens ? tokens.table : tokens.offset;
    callNative(() => this.#addon.cudaStep(this.#stepper, handle, depth, logits, vocabSize, tokensOf));
  }

  /** Frees what is a batch's own, for its steps run elsewhere now. */
  leave(batch: StepBatch): void {
    const bound = this.#batches.get(batch);
    if (bound !== undefined) {
      this.#dropExclusions(bound.constraints, []);
      bound.constraints = [];
    }
    this.#dropExclusions(batch.constraints, []);
  }

  close(): void {
    callNative(() => this.#addon.cudaDispose(this.#stepper));
  }

  #bind(batch: StepBatch): CudaBatchHandle {
    let bound = this.#batches.get(batch);
    if (bound === undefined) {
      const handle = callNative(() => this.#addon.cudaBindBatch(batch));
      bound = { handle, constraints: [], disposals: -1 };
      this.#batches.set(batch, bound);
    }
    const isSame = areSame(bound.constraints, batch.constraints);
    // From step to step they are the same.
    if (isSame && bound.disposals === this.#objects.disposals) return bound.handle;
    const { handle, constraints: before } = bound;
    const constraints = batch.constraints.slice();
    const handles = constraints.map((constraint) => this.#objects.constraintOf(constraint));
    callNative(() => this.#addon.cudaSetConstraints(handle, handles));
    if (!isSame) this.#dropExclusions(before, constraints);
    bound.constraints = constraints;
    bound.disposals = this.#objects.disposals;
    return handle;
  }

  /** A constraint with exclusions is one request's: its memory does not wait for the garbage collector. */
  #dropExclusions(before: readonly Constraint[], now: readonly Constraint[]): void {
    for (const constraint of before) {
      if (constraint.dead !== null && !now.includes(constraint)) this.#objects.dropConstraint(constraint);
    }
  }
}
