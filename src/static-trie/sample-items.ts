import { countBits, nextSetBit } from '../kernels/index.js';

const WORD_BITS = 32;

/**
 * Some items of a set, spread over it: at equal distances in the order of their numbers, always the same ones. All of
 * them where the set has no more.
 * @param itemBits one bit an item
 * @param itemCount how many bits are set
 */
export function sampleItems(itemBits: Uint32Array, itemCount: number, size: number): number[] {
  const sample: number[] = [];
  const count = Math.min(size, itemCount);
  let word = 0;
  /** Of the set, in the words before. */
  let before = 0;
  for (let index = 0; index < count; index++) {
    const rank = Math.floor((index * itemCount) / count);
    for (
      let inWord = bitsOfWord(itemBits, word);
      before + inWord <= rank;
      inWord = bitsOfWord(itemBits, word)
    ) {
      before += inWord;
      word++;
    }
    sample.push(setBitOfRank(itemBits, word * WORD_BITS, rank - before));
  }
  return sample;
}

function bitsOfWord(bits: Uint32Array, word: number): number {
  return countBits(bits, word * WORD_BITS, (word + 1) * WORD_BITS);
}

function setBitOfRank(bits: Uint32Array, from: number, rank: number): number {
  const end = from + WORD_BITS;
  let bit = nextSetBit(bits, from, end);
  for (let passed = 0; passed < rank; passed++) bit = nextSetBit(bits, bit + 1, end);
  return bit;
}
