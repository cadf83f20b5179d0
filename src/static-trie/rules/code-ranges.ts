import type { Codes } from '../../kernels/index.js';
import type { NumberColumn } from '../columns.js';
import { numberOf } from '../number-column.js';
import { firstWhere } from '../sorted-strings.js';
import { always, never, type Truth, truthOfLeaf } from './scan-tree.js';

export type Comparison = '==' | '<' | '<=';

/** Codes from low to high, inclusive; none where low > high. */
export interface CodeRange {
  low: number;
  high: number;
}

const NO_CODES: CodeRange = { low: 1, high: 0 };

/**
 * The codes whose values v pass `v how constant`, or `constant how v` where swapped: always one range, since
 * every encoding is monotone. No arithmetic with the constant is needed, which might round: the bounds are
 * searched for by comparing values with it, and JS compares a number with a bigint exactly.
 */
export function codeRange(
  column: NumberColumn,
  how: Comparison,
  constant: number | bigint,
  isSwapped: boolean,
): CodeRange {
  const orEqual = how !== '<';
  const low = how === '==' || isSwapped ? firstCode(column, constant, orEqual) : Number.NEGATIVE_INFINITY;
  const high = how === '==' || !isSwapped ? lastCode(column, constant, orEqual) : Number.POSITIVE_INFINITY;
  return low === undefined || high === undefined ? NO_CODES : { low, high };
}

/**
 * The items with a code in the range.
 * @param codeCount  how many codes there are, where they are no doubles
 */
export function truthOfRange(
  { codes, present }: { codes: Codes; present: Uint32Array | null },
  codeCount: number,
  { low, high }: CodeRange,
): Truth {
  if (!(codes instanceof Float64Array)) {
    low = Math.max(low, 0);
    high = Math.min(high, codeCount - 1);
    if (low === 0 && high === codeCount - 1) return always(present);
  }
  if (low > high) return never(present);
  return truthOfLeaf({ kind: 'range', codes, low, high, negate: false, present });
}

/** How many codes a column of integer codes may have. */
export function codeCountOf({ codes, encoding }: NumberColumn): number {
  return encoding.kind === 'dictionary' ? encoding.values.length : 2 ** (8 * codes.BYTES_PER_ELEMENT);
}

/** Of the smallest value above the constant, itself included where `orEqual`. */
function firstCode(column: NumberColumn, constant: number | bigint, orEqual: boolean): number | undefined {
  const passes = (value: number) => (orEqual ? value >= constant : value > constant);
  const { encoding } = column;
  if (encoding.kind === 'plain') {
    const nearest = Number(constant);
    const next = passes(nearest) ? nearest : -nextBelow(-nearest);
    return passes(next) ? next : undefined;
  }
  const count = codeCountOf(column);
  const first = firstWhere(count, (code) => passes(numberOf(encoding, code)));
  return first < count ? first : undefined;
}

/** Of the largest value below the constant, itself included where `orEqual`. */
function lastCode(column: NumberColumn, constant: number | bigint, orEqual: boolean): number | undefined {
  const passes = (value: number) => (orEqual ? value <= constant : value < constant);
  const { encoding } = column;
  if (encoding.kind === 'plain') {
    const nearest = Number(constant);
    const next = passes(nearest) ? nearest : nextBelow(nearest);
    return passes(next) ? next : undefined;
  }
  const last = firstWhere(codeCountOf(column), (code) => !passes(numberOf(encoding, code))) - 1;
  return last >= 0 ? last : undefined;
}

/** The largest double below a value; of −infinity and NaN themselves. */
function nextBelow(value: number): number {
  if (value === Number.NEGATIVE_INFINITY || Number.isNaN(value)) return value;
  if (value === 0) return -Number.MIN_VALUE;
  const double = Float64Array.of(value);
  const bits = new BigInt64Array(double.buffer);
  bits[0] += value > 0 ? -1n : 1n;
  return double[0];
}
