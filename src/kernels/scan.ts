import { EspalierError } from '../errors.js';
import { wordsFor } from './bits.js';

/** A column's codes, one an item; of a list column one for each entry. Float64Array: the values themselves. */
export type Codes = Uint8Array | Uint16Array | Uint32Array | Float64Array;

interface Tested {
  /** The opposite of the test. An item without a value passes neither way. */
  negate: boolean;
  /** One bit an item; null where every item has a value. */
  present: Uint32Array | null;
}
/** low <= code <= high. A NaN is in no range, and where low > high no code is. */
export interface RangeLeaf extends Tested {
  kind: 'range';
  codes: Codes;
  low: number;
  high: number;
}
/** The code's bit in `flags` is set; codes beyond them have none. */
export interface FlagsLeaf extends Tested {
  kind: 'flags';
  codes: Exclude<Codes, Float64Array>;
  flags: Uint32Array;
}
/** Some code of the item's list, codes [offsets[i], offsets[i + 1]), has its bit in `flags`. */
export interface AnyFlagLeaf extends Tested {
  kind: 'anyFlag';
  offsets: Uint32Array;
  codes: Exclude<Codes, Float64Array>;
  flags: Uint32Array;
}
export interface BitsLeaf extends Tested {
  kind: 'bits';
  bits: Uint32Array;
}
/** One test over one column: an item passes when it has a value, and the test, negated or not, holds. */
export type ScanLeaf = RangeLeaf | FlagsLeaf | AnyFlagLeaf | BitsLeaf;

/** In a postfix: the two bitmaps on top of the stack become one. */
export const AND = -1;
export const OR = -2;

/** A boolean expression of tests, for all items. `postfix`: a number >= 0 pushes that leaf's bits. */
export interface ScanProgram {
  itemCount: number;
  leaves: readonly ScanLeaf[];
  postfix: Int32Array;
}

/**
 * Evaluates a program for all items.
 * @param threads that may work on it at a time, by default all
 * @returns one bit an item, wordsFor(itemCount) words, bits beyond itemCount clear; owned by the caller.
 * @throws EspalierError ESP_SHAPE where the postfix or an array does not fit.
 */
export type Scan = (program: ScanProgram, threads?: number) => Uint32Array;

/** Bitmaps that a program may need at a time. */
export const MAX_SCAN_DEPTH = 256;
/** Items at a time, so that all bitmaps of a program stay in the cache. */
const BLOCK_ITEMS = 16_384;
const BLOCK_WORDS = BLOCK_ITEMS / 32;

/**
 * Evaluates a program for all items: the reference for the native kernel.
 * @returns one bit an item, wordsFor(itemCount) words, bits beyond itemCount clear; owned by the caller.
 * @throws EspalierError ESP_SHAPE where the postfix or an array does not fit.
 */
export function scan(program: ScanProgram): Uint32Array {
  const { itemCount, leaves, postfix } = program;
  const depth = checkProgram(program);
  const out = new Uint32Array(wordsFor(itemCount));
  const stack = Array.from({ length: depth }, () => new Uint32Array(BLOCK_WORDS));
  for (let first = 0; first < itemCount; first += BLOCK_ITEMS) {
    const count = Math.min(BLOCK_ITEMS, itemCount - first);
    let top = 0;
    for (const entry of postfix) {
      if (entry >= 0) scanLeaf(leaves[entry], first, count, stack[top++]);
      else combine(entry, stack[--top - 1], stack[top]);
    }
    const words = Math.ceil(count / 32);
    out.set(stack[0].subarray(0, words), first >>> 5);
    // Negated bits reach beyond the last item.
    if (count & 31) out[(first >>> 5) + words - 1] &= (1 << (count & 31)) - 1;
  }
  return out;
}

function combine(operator: number, into: Uint32Array, other: Uint32Array): void {
  if (operator === AND) for (let word = 0; word < BLOCK_WORDS; word++) into[word] &= other[word];
  else for (let word = 0; word < BLOCK_WORDS; word++) into[word] |= other[word];
}

/** The leaf's bits for `count` items from `first` on, a multiple of 32. */
function scanLeaf(leaf: ScanLeaf, first: number, count: number, out: Uint32Array): void {
  const words = Math.ceil(count / 32);
  for (let word = 0; word < words; word++) {
    const start = first + word * 32;
    out[word] = testWord(leaf, start, Math.min(start + 32, first + count));
  }
  if (leaf.negate) for (let word = 0; word < words; word++) out[word] = ~out[word];
  if (leaf.present) for (let word = 0; word < words; word++) out[word] &= leaf.present[(first >>> 5) + word];
}

function testWord(leaf: ScanLeaf, start: number, end: number): number {
  switch (leaf.kind) {
    case 'range':
      return rangeWord(leaf, start, end);
    case 'flags':
      return flagsWord(leaf, start, end);
    case 'anyFlag':
      return anyFlagWord(leaf, start, end);
    case 'bits':
      return leaf.bits[start >>> 5];
  }
}

function rangeWord({ codes, low, high }: RangeLeaf, start: number, end: number): number {
  let word = 0;
  for (let item = start; item < end; item++) {
    word |= (codes[item] >= low && codes[item] <= high ? 1 : 0) << item;
  }
  return word;
}

function flagsWord({ codes, flags }: FlagsLeaf, start: number, end: number): number {
  let word = 0;
  for (let item = start; item < end; item++) word |= flagOf(flags, codes[item]) << item;
  return word;
}

function anyFlagWord({ offsets, codes, flags }: AnyFlagLeaf, start: number, end: number): number {
  let word = 0;
  for (let item = start; item < end; item++) {
    // Offsets that lie about their order must not lead out of the codes.
    const last = Math.min(offsets[item + 1], codes.length);
    for (let at = offsets[item]; at < last; at++) {
      if (flagOf(flags, codes[at]) === 0) continue;
      word |= 1 << item;
      break;
    }
  }
  return word;
}

/** 0 or 1; beyond the array a word reads as undefined, and shifts to 0. */
function flagOf(flags: Uint32Array, code: number): number {
  return (flags[code >>> 5] >>> (code & 31)) & 1;
}

/** @returns how many bitmaps the program needs at a time. */
function checkProgram({ itemCount, leaves, postfix }: ScanProgram): number {
  leaves.forEach((leaf, index) => {
    checkLeaf(leaf, index, itemCount);
  });
  let depth = 0;
  let deepest = 0;
  postfix.forEach((entry, at) => {
    const isLeaf = entry >= 0 && entry < leaves.length;
    if (!isLeaf && !((entry === AND || entry === OR) && depth >= 2)) {
      throw misfit(`postfix entry ${at}: ${entry} does not fit a program of ${leaves.length} leaves`);
    }
    depth += isLeaf ? 1 : -1;
    deepest = Math.max(deepest, depth);
  });
  if (depth !== 1) throw misfit(`the postfix must leave one result, found ${depth}`);
  if (deepest > MAX_SCAN_DEPTH) throw misfit(`the postfix needs more than ${MAX_SCAN_DEPTH} bitmaps`);
  return deepest;
}

function checkLeaf(leaf: ScanLeaf, index: number, itemCount: number): void {
  const expect = (what: string, found: number, expected: number) => {
    if (found !== expected) throw misfit(`leaf ${index}: expected ${expected} ${what}, found ${found}`);
  };
  const words = wordsFor(itemCount);
  if (leaf.present) expect('words of present', leaf.present.length, words);
  switch (leaf.kind) {
    case 'bits':
      expect('words of bits', leaf.bits.length, words);
      break;
    case 'range':
    case 'flags':
      expect('codes', leaf.codes.length, itemCount);
      break;
    case 'anyFlag':
      expect('offsets', leaf.offsets.length, itemCount + 1);
      expect('as the first offset', leaf.offsets[0], 0);
      expect('as the last offset', leaf.offsets[itemCount], leaf.codes.length);
  }
}

function misfit(message: string): EspalierError {
  return new EspalierError('ESP_SHAPE', message);
}
