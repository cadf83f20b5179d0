import type { Kernel } from '../kernel.js';
import type { StepBatch } from '../step-batch.js';
import type { Constraint } from '../types.js';
import {
  type Addon,
  type BatchHandle,
  type ConstraintHandle,
  callNative,
  type StepperHandle,
} from './addon.js';
import { handleOf } from './trie-handle.js';

/** logSumExp of [rows, vocabSize] float32 logits into `out` [rows]: what no step can be faster than. */
export type LogSumExpRows = (logits: Float32Array, vocabSize: number, out: Float32Array) => void;

export function createNativeLogSumExp(addon: Addon, level: number, threads: number): LogSumExpRows {
  let stepper: StepperHandle | undefined;
  return (logits, vocabSize, out) =>
    callNative(() => {
      stepper ??= addon.createStepper(level, threads);
      addon.logSumExp(stepper, logits, vocabSize, out);
    });
}

interface BoundBatch {
  handle: BatchHandle;
  /** Those that the native side has been told of. */
  constraints: readonly Constraint[];
}

/** Whether two lists hold the same objects. */
export function areSame<T>(left: readonly T[], right: readonly T[]): boolean {
  if (left.length !== right.length) return false;
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
  return true;
}

/** The step at one instruction set, an esp_level. @param threads that a step may take, the caller's among them */
export function createNativeStep(addon: Addon, level: number, threads: number): Kernel['step'] {
  let stepper: StepperHandle | undefined;
  const batches = new WeakMap<StepBatch, BoundBatch>();
  const constraints = new WeakMap<Constraint, ConstraintHandle>();

  const handleOfConstraint = (constraint: Constraint): ConstraintHandle => {
    let handle = constraints.get(constraint);
    if (handle === undefined) {
      const { trie, live, dead } = constraint;
      handle = addon.createConstraint(handleOf(addon, trie), live, dead?.leaves ?? null);
      constraints.set(constraint, handle);
    }
    return handle;
  };

  const handleOfBatch = (batch: StepBatch): BatchHandle => {
    let bound = batches.get(batch);
    if (bound === undefined) {
      bound = { handle: addon.bindBatch(batch), constraints: [] };
      batches.set(batch, bound);
    }
    // From step to step they are the same.
    if (!areSame(bound.constraints, batch.constraints)) {
      addon.setConstraints(bound.handle, batch.constraints.map(handleOfConstraint));
      bound.constraints = batch.constraints.slice();
    }
    return bound.handle;
  };

  return (batch, { depth, logits, vocabSize, tokens }) =>
    callNative(() => {
      stepper ??= addon.createStepper(level, threads);
      addon.step(
        stepper,
        handleOfBatch(batch),
        depth,
        logits,
        vocabSize,
        'table' in tokens ? tokens.table : tokens.offset,
      );
    });
}
