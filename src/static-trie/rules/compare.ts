import { isBitSet, setBit, wordsFor } from '../../kernels/index.js';
import {
  type BoolNode,
  bitsByCode,
  boolNode,
  type Context,
  maskOf,
  type NumberNode,
  type Numbers,
  noBits,
  type StringNode,
  type Strings,
  union,
  without,
} from './values.js';

export type Comparison = '==' | '<' | '<=';

/** Numbers of any two types, or two times of the same type. */
export function compareNumbers(
  start: number,
  how: Comparison,
  left: NumberNode,
  right: NumberNode,
): BoolNode {
  // CEL compares an int with a double as doubles, but tells them apart exactly for ==.
  const asDoubles = left.type !== right.type && how !== '==';
  return boolNode(start, left.constant && right.constant, (context) => {
    const a = left.evaluate(context);
    const b = right.evaluate(context);
    const isError = union(a.isError, b.isError);
    const { itemCount } = context;
    const bits =
      a.values instanceof Float64Array && b.values instanceof Float64Array
        ? compareDoubles(how, a.values, b.values, itemCount)
        : compareWide(how, a, b, asDoubles, itemCount);
    return { isTrue: without(bits, isError), isError };
  });
}

function compareDoubles(how: Comparison, a: Float64Array, b: Float64Array, itemCount: number): Uint32Array {
  const bits = new Uint32Array(wordsFor(itemCount));
  const maskA = maskOf(a);
  const maskB = maskOf(b);
  for (let base = 0; base < itemCount; base += 32) {
    const end = Math.min(base + 32, itemCount);
    let word = 0;
    if (how === '==') {
      for (let i = base; i < end; i++) word |= (a[i & maskA] === b[i & maskB] ? 1 : 0) << i;
    } else if (how === '<') {
      for (let i = base; i < end; i++) word |= (a[i & maskA] < b[i & maskB] ? 1 : 0) << i;
    } else {
      for (let i = base; i < end; i++) word |= (a[i & maskA] <= b[i & maskB] ? 1 : 0) << i;
    }
    bits[base >>> 5] = word;
  }
  return bits;
}

function compareWide(how: Comparison, a: Numbers, b: Numbers, asDoubles: boolean, itemCount: number) {
  const bits = new Uint32Array(wordsFor(itemCount));
  for (let index = 0; index < itemCount; index++) {
    let x = a.values[index & maskOf(a.values)];
    let y = b.values[index & maskOf(b.values)];
    if (asDoubles) [x, y] = [Number(x), Number(y)];
    // biome-ignore lint/suspicious/noDoubleEquals: == compares a bigint and a number by value, === does not.
    if (how === '==' ? x == y : how === '<' ? x < y : x <= y) setBit(bits, index);
  }
  return bits;
}

/** `test(left, right)` for each item: a comparison, or a method like `contains`. */
export function testStrings(
  start: number,
  left: StringNode,
  right: StringNode,
  test: (left: string, right: string) => boolean,
): BoolNode {
  return boolNode(start, left.constant && right.constant, (context) => {
    const a = left.evaluate(context);
    const b = right.evaluate(context);
    const isError = union(a.isError, b.isError);
    return { isTrue: without(matching(a, b, isError, test, context), isError), isError };
  });
}

function matching(
  a: Strings,
  b: Strings,
  isError: Uint32Array,
  test: (left: string, right: string) => boolean,
  context: Context,
): Uint32Array {
  const { itemCount } = context;
  // One side is the same for all items: once for each entry of the other's dictionary.
  if (b.codes.length === 1) {
    const constant = b.dictionary[b.codes[0]] ?? '';
    return bitsByCode(
      a.codes,
      Uint8Array.from(a.dictionary, (entry) => Number(test(entry, constant))),
      itemCount,
    );
  }
  if (a.codes.length === 1) {
    const constant = a.dictionary[a.codes[0]] ?? '';
    return bitsByCode(
      b.codes,
      Uint8Array.from(b.dictionary, (entry) => Number(test(constant, entry))),
      itemCount,
    );
  }
  const bits = noBits(context);
  for (let index = 0; index < itemCount; index++) {
    if (isBitSet(isError, index)) continue;
    if (test(a.dictionary[a.codes[index]], b.dictionary[b.codes[index]])) setBit(bits, index);
  }
  return bits;
}
