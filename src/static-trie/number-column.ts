import { EspalierError } from '../errors.js';
import type { Codes } from '../kernels/index.js';
import type { BitList } from './bit-list.js';

/**
 * How numbers are stored as codes. Each encoding keeps every value exactly and is monotone: a larger code is a
 * larger value, so that a comparison with a constant is a range of codes.
 *
 * affine: value = base + step × code, all of them integers whose sums are exact.
 * dictionary: value = values[code], ascending without duplicates.
 * plain: the codes are the values; the only one that keeps −0 apart from 0.
 */
export type NumberEncoding =
  | { kind: 'affine'; base: number; step: number }
  | { kind: 'dictionary'; values: Float64Array }
  | { kind: 'plain' };

export interface NumberCodes {
  codes: Codes;
  encoding: NumberEncoding;
}

export const MAX_DICTIONARY_VALUES = 65_536;

/** The value of a code. @throws EspalierError ESP_ARTIFACT_CORRUPT where the dictionary has no such code. */
export function numberOf(encoding: NumberEncoding, code: number): number {
  switch (encoding.kind) {
    case 'affine':
      return encoding.base + encoding.step * code;
    case 'dictionary':
      if (code < encoding.values.length) return encoding.values[code];
      throw badCode(code, encoding.values.length);
    case 'plain':
      return code;
  }
}

/** All values; slots of missing ones mean nothing. The codes themselves where they are the values. */
export function decodeNumbers({ codes, encoding }: NumberCodes): Float64Array {
  if (encoding.kind === 'plain') return codes as Float64Array;
  const values = new Float64Array(codes.length);
  if (encoding.kind === 'affine') {
    const { base, step } = encoding;
    for (let index = 0; index < values.length; index++) values[index] = base + step * codes[index];
    return values;
  }
  const { values: dictionary } = encoding;
  for (let index = 0; index < values.length; index++) {
    if (codes[index] >= dictionary.length) throw badCode(codes[index], dictionary.length);
    values[index] = dictionary[codes[index]];
  }
  return values;
}

/**
 * The encoding with the fewest bytes.
 * @param values   one for each row; those that are not present mean nothing
 * @param order    order[i] is the row that becomes item i
 */
export function narrowNumbers(values: Float64Array, present: BitList, order: Uint32Array): NumberCodes {
  const range = rangeOf(values, present);
  const affine = range && affineOf(range, values, present);
  const affineBytes = affine ? affine.type.BYTES_PER_ELEMENT : Number.POSITIVE_INFINITY;
  const distinct = range && affineBytes > 1 ? distinctValues(values, present, affineBytes) : undefined;
  if (distinct) {
    const type = codeTypeFor(distinct.length);
    const bytes = order.length * type.BYTES_PER_ELEMENT + distinct.byteLength;
    if (bytes < order.length * Math.min(affineBytes, Float64Array.BYTES_PER_ELEMENT)) {
      const codeOf = new Map(Array.from(distinct, (value, code) => [value, code]));
      const codes = gather(new type(order.length), order, present, (row) => codeOf.get(values[row])!);
      return { codes, encoding: { kind: 'dictionary', values: distinct } };
    }
  }
  if (affine) {
    const { base, step, type } = affine;
    const codes = gather(new type(order.length), order, present, (row) => (values[row] - base) / step);
    return { codes, encoding: { kind: 'affine', base, step } };
  }
  const codes = gather(new Float64Array(order.length), order, present, (row) => values[row]);
  return { codes, encoding: { kind: 'plain' } };
}

/** The narrowest type for codes 0 … count − 1. */
export function codeTypeFor(count: number): typeof Uint8Array | typeof Uint16Array | typeof Uint32Array {
  return count <= 2 ** 8 ? Uint8Array : count <= 2 ** 16 ? Uint16Array : Uint32Array;
}

export function badCode(code: number, count: number): EspalierError {
  return new EspalierError('ESP_ARTIFACT_CORRUPT', `code ${code} of a column must be < ${count}`);
}

interface Range {
  least: number;
  most: number;
  areIntegers: boolean;
}

/** Undefined where a value must stay as it is: −0, which no other encoding keeps, and what should never come. */
function rangeOf(values: Float64Array, present: BitList): Range | undefined {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  let areIntegers = true;
  for (let row = 0; row < values.length; row++) {
    if (!present.at(row)) continue;
    const value = values[row];
    if (!Number.isFinite(value) || Object.is(value, -0)) return undefined;
    if (value < least) least = value;
    if (value > most) most = value;
    areIntegers &&= Number.isSafeInteger(value);
  }
  return least <= most ? { least, most, areIntegers } : { least: 0, most: 0, areIntegers: true };
}

/** Frame of reference, with the greatest common step. */
function affineOf({ least, most, areIntegers }: Range, values: Float64Array, present: BitList) {
  // Within this range every difference, and so every step × code, is exact.
  if (!areIntegers || most - least > Number.MAX_SAFE_INTEGER) return undefined;
  let step = 0;
  for (let row = 0; row < values.length && step !== 1; row++) {
    if (present.at(row)) step = greatestDivisor(step, values[row] - least);
  }
  step ||= 1;
  const count = (most - least) / step + 1;
  return count <= 2 ** 32 ? { base: least, step, type: codeTypeFor(count) } : undefined;
}

function greatestDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}

/** The distinct values, ascending; undefined where codes for them would not be narrower than `maxBytes`. */
function distinctValues(values: Float64Array, present: BitList, maxBytes: number): Float64Array | undefined {
  const maxCount = maxBytes <= 2 ? 2 ** 8 : MAX_DICTIONARY_VALUES;
  const distinct = new Set<number>();
  for (let row = 0; row < values.length; row++) {
    if (!present.at(row)) continue;
    distinct.add(values[row]);
    if (distinct.size > maxCount) return undefined;
  }
  return Float64Array.from(distinct).sort();
}

/** Item by item; those without a value get code 0. */
function gather<Numbers extends Codes>(
  codes: Numbers,
  order: Uint32Array,
  present: BitList,
  codeOf: (row: number) => number,
): Numbers {
  for (let item = 0; item < order.length; item++) {
    if (present.at(order[item])) codes[item] = codeOf(order[item]);
  }
  return codes;
}
