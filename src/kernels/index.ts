export { badLogitError } from './bad-logit.js';
export {
  allBits,
  clearBit,
  copyBits,
  countBits,
  isBitSet,
  nextSetBit,
  previousSetBit,
  putBit,
  setBit,
  wordsFor,
} from './bits.js';
export { ChildList, listLiveChildren, lowerBound } from './children.js';
export {
  chooseHostKernel,
  chooseKernel,
  findCudaFor,
  type KernelChoice,
  usableLevels,
} from './choose-kernel.js';
export { type CudaFinding, cudaOff, lookForCuda } from './cuda/find-cuda.js';
export { cudaVersion } from './cuda/probe.js';
export { createJsKernel, jsStep } from './js-kernel.js';
export { hasItem, jsSets } from './js-sets.js';
export type { Kernel, StepInput } from './kernel.js';
export { firstItemOf, leafOfItem, sharedItemCount, sharedNumber, sharedNumbersOf } from './leaf-items.js';
export {
  type LevelTokens,
  type Normalization,
  normalizations,
  scaledLogit,
  tokenOf,
} from './log-probs.js';
export type { CudaDevice, CudaMemory, RowCodes } from './native/addon.js';
export { mapNatively } from './native/native-map.js';
export { patchLiveLeaves } from './patch-live-leaves.js';
export {
  AND,
  type AnyFlagLeaf,
  type BitsLeaf,
  type Codes,
  type FlagsLeaf,
  MAX_SCAN_DEPTH,
  OR,
  type RangeLeaf,
  type Scan,
  type ScanLeaf,
  type ScanProgram,
  scan,
} from './scan.js';
export { StepBatch, type StepRequest } from './step-batch.js';
export { constraintFault, MAX_BEAM_WIDTH } from './step-checks.js';
export type { DeviceReport, StepDevice, StepShape } from './step-device.js';
export type {
  BitOperation,
  ChildMasks,
  Constraint,
  DeadLeaves,
  ItemSubset,
  LeafItems,
  LiveLeaves,
  Logits,
  SetAlgebra,
  TopLevel,
  TrieArrays,
} from './types.js';
