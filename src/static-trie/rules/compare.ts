import { isBitSet, setBit, wordsFor } from '../../kernels/index.js';
import { findPrefix, findString } from '../sorted-strings.js';
import { stringsContaining, stringsEndingWith } from '../text-search.js';
import { type CodeRange, type Comparison, codeCountOf, codeRange, truthOfRange } from './code-ranges.js';
import { columnOf } from './leaves.js';
import { always, failure, never, type Truth, truthOfBits, truthOfLeaf } from './scan-tree.js';
import {
  type BoolNode,
  boolNode,
  type Context,
  constantNumber,
  constantText,
  isPresent,
  maskOf,
  type NumberNode,
  type Numbers,
  noBits,
  presentInBoth,
  type StringNode,
  type Strings,
  type Texts,
} from './values.js';

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
    if (right.constant && left.attribute) return compareAttribute(how, left, right, asDoubles, context);
    if (left.constant && right.attribute) return compareAttribute(how, right, left, asDoubles, context, true);
    const a = left.evaluate(context);
    const b = right.evaluate(context);
    const { itemCount } = context;
    const bits =
      a.values instanceof Float64Array && b.values instanceof Float64Array
        ? compareDoubles(how, a.values, b.values, itemCount)
        : compareWide(how, a, b, asDoubles, itemCount);
    return truthOfBits(bits, presentInBoth(a, b, context));
  });
}

/** `attribute how constant`, the other way round where swapped: a range of the column's codes. */
function compareAttribute(
  how: Comparison,
  { attribute }: NumberNode,
  other: NumberNode,
  asDoubles: boolean,
  context: Context,
  isSwapped = false,
): Truth {
  const column = columnOf(context, attribute!.name, attribute!.type);
  const constant = constantNumber(other, context);
  if (column === undefined || constant === undefined) return failure;
  const range = codeRange(column, how, asDoubles ? Number(constant) : constant, isSwapped);
  return truthOfRange(column, codeCountOf(column), range);
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

const tests = {
  '==': (left: string, right: string) => left === right,
  '<': (left: string, right: string) => left < right,
  '<=': (left: string, right: string) => left <= right,
  contains: (left: string, right: string) => left.includes(right),
  startsWith: (left: string, right: string) => left.startsWith(right),
  endsWith: (left: string, right: string) => left.endsWith(right),
} as const;
export type StringTest = keyof typeof tests;

/** A comparison of two strings, or a method like `contains`. */
export function testStrings(start: number, how: StringTest, left: StringNode, right: StringNode): BoolNode {
  return boolNode(start, left.constant && right.constant, (context) => {
    if (right.constant) {
      const strings = left.evaluate(context);
      const constant = constantText(right, context);
      return constant === undefined ? failure : testConstant(how, strings, constant, context);
    }
    if (left.constant) {
      const strings = right.evaluate(context);
      const constant = constantText(left, context);
      if (constant === undefined) return failure;
      if (how === '==') return testConstant(how, strings, constant, context);
      return truthByEntry(strings, (entry) => tests[how](constant, entry), context);
    }
    return truthByItem(how, left.evaluate(context), right.evaluate(context), context);
  });
}

function testConstant(how: StringTest, strings: Strings, constant: string, context: Context): Truth {
  // Half a surrogate pair begins strings whose bytes do not begin with its own.
  const range =
    strings.sorted && (how === '==' || (how === 'startsWith' && constant.isWellFormed()))
      ? dictionaryRange(strings.sorted, how, constant)
      : undefined;
  if (range && strings.sorted) return truthOfRange(strings, strings.sorted.length, range);
  if (strings.sorted && constant !== '' && constant.isWellFormed()) {
    // Without a JS string for each of what may be millions of entries.
    if (how === 'contains')
      return truthOfFlags(strings, stringsContaining(strings.sorted, constant), context);
    if (how === 'endsWith')
      return truthOfFlags(strings, stringsEndingWith(strings.sorted, constant), context);
  }
  return truthByEntry(strings, (entry) => tests[how](entry, constant), context);
}

function dictionaryRange(
  dictionary: NonNullable<Strings['sorted']>,
  how: '==' | 'startsWith',
  constant: string,
): CodeRange {
  if (how === '==') {
    const code = findString(dictionary, constant);
    return code < 0 ? { low: 1, high: 0 } : { low: code, high: code };
  }
  const { start, end } = findPrefix(dictionary, constant);
  return { low: start, high: end - 1 };
}

/** The test of each entry of a dictionary, once. */
export function flagsOf(dictionary: Texts, test: (entry: string) => boolean): Uint32Array {
  const flags = new Uint32Array(wordsFor(dictionary.length));
  for (let code = 0; code < dictionary.length; code++) {
    if (test(dictionary.at(code)!)) setBit(flags, code);
  }
  return flags;
}

function truthByEntry(strings: Strings, test: (entry: string) => boolean, context: Context): Truth {
  return truthOfFlags(strings, flagsOf(strings.dictionary, test), context);
}

/** The items whose code has a flag. */
export function truthOfFlags({ codes, present }: Strings, flags: Uint32Array, { itemCount }: Context): Truth {
  if (codes.length === itemCount) return truthOfLeaf({ kind: 'flags', codes, flags, negate: false, present });
  // One slot for all items.
  return isBitSet(flags, codes[0]) ? always(present) : never(present);
}

function truthByItem(how: StringTest, a: Strings, b: Strings, context: Context): Truth {
  const bits = noBits(context);
  const present = presentInBoth(a, b, context);
  for (let index = 0; index < context.itemCount; index++) {
    if (!isPresent({ present }, index)) continue;
    const left = a.dictionary.at(a.codes[index & maskOf(a.codes)])!;
    const right = b.dictionary.at(b.codes[index & maskOf(b.codes)])!;
    if (tests[how](left, right)) setBit(bits, index);
  }
  return truthOfBits(bits, present);
}
