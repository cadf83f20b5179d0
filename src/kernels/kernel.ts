import type { LevelTokens } from './log-probs.js';
import type { Scan } from './scan.js';
import type { StepBatch } from './step-batch.js';
import type { StepDevice } from './step-device.js';
import type { Logits, SetAlgebra } from './types.js';

/** What a step reads beside its batch. Arrays are borrowed for the call. */
export interface StepInput {
  /** 0 for the first code. */
  depth: number;
  /** [rows, vocabSize] */
  logits: Logits;
  vocabSize: number;
  tokens: LevelTokens;
}

/**
 * One decode step of a batch: the M best live children of each request's beams.
 *
 * score(b, c) = scores[b] + (logit[b][token(c)] / temperature − logSumExp(b)), in float32. Ties keep the
 * smaller parent beam, then the smaller code; −0 is +0. A child whose logit is −infinity does not exist.
 * Fewer live children than M: the output is shorter, never filled up. A request with a logit, among those that its
 * normalization reads, that is NaN or +infinity keeps no children, and `badLogitError` says which.
 * @throws EspalierError ESP_SHAPE on arrays, nodes and tokens that don't fit each other.
 */
export interface Kernel {
  /** What runs, for health and metrics: `js`, or the instruction set of the native kernels. */
  readonly name: string;
  /** What runs the decode step; may change, where that is a device that fails. */
  readonly stepName: string;
  readonly sets: SetAlgebra;
  readonly scan: Scan;
  step(batch: StepBatch, input: StepInput): void;
  /** Where steps may run elsewhere than on the CPU: what it must be told of. */
  readonly device?: StepDevice;
}
