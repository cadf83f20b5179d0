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
export { chooseKernel } from './choose-kernel.js';
export { createJsKernel } from './js-kernel.js';
export { type LevelTokens, type Normalization, normalizations, tokenOf } from './log-probs.js';
export {
  createStepOutput,
  type DeadLeaves,
  type Kernel,
  type LiveLeaves,
  type StepInput,
  type StepOutput,
  type TopLevel,
  type TrieArrays,
} from './types.js';
