export {
  allBits,
  clearBit,
  countBits,
  isBitSet,
  nextSetBit,
  popCount,
  previousSetBit,
  setBit,
  wordsFor,
} from './bits.js';
