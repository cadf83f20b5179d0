/**
 * Bit arrays in Uint32Array words: bit i is bit `i & 31` of word `i >>> 5`. Read as little-endian
 * 64-bit words, the layout is the same, so that files and native kernels share it.
 */

/** Words that hold `bitCount` bits, rounded up to whole 64-bit words. */
export function wordsFor(bitCount: number): number {
  return Math.ceil(bitCount / 64) * 2;
}

export function isBitSet(words: Uint32Array, index: number): boolean {
  return ((words[index >>> 5] >>> (index & 31)) & 1) === 1;
}

export function setBit(words: Uint32Array, index: number): void {
  words[index >>> 5] |= 1 << (index & 31);
}

export function clearBit(words: Uint32Array, index: number): void {
  words[index >>> 5] &= ~(1 << (index & 31));
}

export function putBit(words: Uint32Array, index: number, isSet: boolean): void {
  if (isSet) setBit(words, index);
  else clearBit(words, index);
}

/** The smallest set bit in [from, to), or `to` where there is none. */
export function nextSetBit(words: Uint32Array, from: number, to: number): number {
  if (from >= to) return to;
  let wordIndex = from >>> 5;
  const lastWord = (to - 1) >>> 5;
  let word = words[wordIndex] & (-1 << (from & 31));
  while (word === 0) {
    if (++wordIndex > lastWord) return to;
    word = words[wordIndex];
  }
  // Math.clz32(x & -x) finds the lowest set bit: 31 − clz is its position.
  const bit = wordIndex * 32 + 31 - Math.clz32(word & -word);
  return Math.min(bit, to);
}

/** The largest set bit in [from, to], or -1 where there is none. */
export function previousSetBit(words: Uint32Array, from: number, to: number): number {
  if (to < from) return -1;
  let wordIndex = to >>> 5;
  const firstWord = from >>> 5;
  let word = words[wordIndex] & (-1 >>> (31 - (to & 31)));
  while (word === 0) {
    if (--wordIndex < firstWord) return -1;
    word = words[wordIndex];
  }
  const bit = wordIndex * 32 + 31 - Math.clz32(word);
  return bit >= from ? bit : -1;
}

/** Set bits in [from, to). */
export function countBits(words: Uint32Array, from: number, to: number): number {
  if (from >= to) return 0;
  const firstWord = from >>> 5;
  const lastWord = (to - 1) >>> 5;
  const head = -1 << (from & 31);
  const tail = -1 >>> (31 - ((to - 1) & 31));
  if (firstWord === lastWord) return popCount(words[firstWord] & head & tail);
  let count = popCount(words[firstWord] & head) + popCount(words[lastWord] & tail);
  for (let index = firstWord + 1; index < lastWord; index++) count += popCount(words[index]);
  return count;
}

/** Set bits of one 32-bit word (Hacker's Delight, figure 5-2). */
export function popCount(word: number): number {
  let x = word - ((word >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  x = (x + (x >>> 4)) & 0x0f0f0f0f;
  return Math.imul(x, 0x01010101) >>> 24;
}

/** Bits [0, bitCount) set, all others clear. */
export function allBits(bitCount: number): Uint32Array {
  const words = new Uint32Array(wordsFor(bitCount));
  words.fill(-1 >>> 0, 0, bitCount >>> 5);
  if (bitCount & 31) words[bitCount >>> 5] = -1 >>> (32 - (bitCount & 31));
  return words;
}

/** Copies `count` bits of `from`, from bit `fromStart` on, over clear bits of `to` from bit `toStart` on. */
export function copyBits(
  from: Uint32Array,
  fromStart: number,
  to: Uint32Array,
  toStart: number,
  count: number,
): void {
  for (let done = 0; done < count; ) {
    const target = toStart + done;
    const source = fromStart + done;
    // Up to the end of the target's word, from one or two words of the source.
    const step = Math.min(32 - (target & 31), count - done);
    let bits = from[source >>> 5] >>> (source & 31);
    if ((source & 31) + step > 32) bits |= from[(source >>> 5) + 1] << (32 - (source & 31));
    if (step < 32) bits &= (1 << step) - 1;
    to[target >>> 5] |= bits << (target & 31);
    done += step;
  }
}
