export {
  allBits,
  clearBit,
  copyBits,
  countBits,
  isBitSet,
  nextSetBit,
  previousSetBit,
  setBit,
  wordsFor,
} from './bits.js';
export { lowerBound } from './children.js';
export { chooseKernel, type KernelChoice, usableLevels } from './choose-kernel.js';
export { createJsKernel } from './js-kernel.js';
export { hasItem, jsSets } from './js-sets.js';
export { firstItemOf, leafOfItem, sharedItemCount, sharedNumber } from './leaf-items.js';
export { type LevelTokens, type Normalization, normalizations, tokenOf } from './log-probs.js';
export type { RowCodes } from './native/addon.js';
export { mapNatively } from './native/native-map.js';
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
export {
  type BitOperation,
  type ChildMasks,
  createStepOutput,
  type DeadLeaves,
  type ItemSubset,
  type Kernel,
  type LeafItems,
  type LiveLeaves,
  type SetAlgebra,
  type StepInput,
  type StepOutput,
  type TopLevel,
  type TrieArrays,
} from './types.js';
