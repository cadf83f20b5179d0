import { type Codes, setBit, wordsFor } from '../../kernels/index.js';
import type { StringListColumn } from '../columns.js';
import { findString } from '../sorted-strings.js';
import { type CodeRange, codeCountOf, codeRange, truthOfRange } from './code-ranges.js';
import { flagsOf, truthOfFlags } from './compare.js';
import { columnOf } from './leaves.js';
import {
  both,
  either,
  failure,
  never,
  type ScanTree,
  type Truth,
  truthOfBits,
  truthOfLeaf,
} from './scan-tree.js';
import {
  type BoolNode,
  boolNode,
  type Context,
  constantBool,
  constantNumber,
  constantText,
  isPresent,
  maskOf,
  type NumberNode,
  noBits,
  presentInBoth,
  type ScalarNode,
  type StringNode,
  type Strings,
  truthOf,
} from './values.js';

/** More ranges than these cost more than a flag for each code. */
const MAX_RANGES = 8;
/** Flags for codes up to here take 8 MiB. */
const MAX_FLAGGED_CODE = 2 ** 26 - 1;

/** `value in [constants]`. An element that is an error makes the whole list one. */
export function inConstants(start: number, value: ScalarNode, elements: ScalarNode[]): BoolNode {
  return boolNode(start, value.constant, (context) => {
    const wanted = elements.map((element) => constantOf(element, context));
    if (wanted.includes(undefined)) return failure;
    switch (value.type) {
      case 'bool':
        return boolIn(truthOf(value, context), wanted.includes(true), wanted.includes(false));
      case 'string':
        return stringIn(value, wanted as string[], context);
      default: {
        // In CEL NaN equals nothing.
        const numbers = (wanted as (number | bigint)[]).filter((number) => !Number.isNaN(number));
        return value.attribute ? attributeIn(value, numbers, context) : numberIn(value, numbers, context);
      }
    }
  });
}

/** A constant, or undefined where it is an error. */
function constantOf(node: ScalarNode, context: Context): boolean | string | number | bigint | undefined {
  if (node.type === 'bool') return constantBool(node, context);
  return node.type === 'string' ? constantText(node, context) : constantNumber(node, context);
}

function boolIn({ whenTrue, whenFalse }: Truth, hasTrue: boolean, hasFalse: boolean): Truth {
  const when = (includesTrue: boolean, includesFalse: boolean): ScanTree =>
    either(includesTrue ? whenTrue : 'none', includesFalse ? whenFalse : 'none');
  return { whenTrue: when(hasTrue, hasFalse), whenFalse: when(!hasTrue, !hasFalse) };
}

function stringIn(value: StringNode, wanted: string[], context: Context): Truth {
  const strings = value.evaluate(context);
  const { sorted, dictionary } = strings;
  if (sorted) {
    const codes = wanted.map((text) => findString(sorted, text)).filter((code) => code >= 0);
    const truth = inCodes(strings, sorted.length, codes);
    if (truth) return truth;
  }
  const set = new Set(wanted);
  const flags = flagsOf(dictionary, (entry) => set.has(entry));
  return truthOfFlags(strings, flags, context);
}

/** A number attribute: each constant is one code or none. */
function attributeIn(value: NumberNode, wanted: (number | bigint)[], context: Context): Truth {
  const { name, type } = value.attribute!;
  const column = columnOf(context, name, type);
  if (column === undefined) return failure;
  const codes = wanted
    .map((constant) => codeRange(column, '==', constant, false))
    .filter(({ low, high }) => low <= high)
    .map(({ low }) => low);
  return inCodes(column, codeCountOf(column), codes) ?? numberIn(value, wanted, context);
}

/** The items with one of the codes; undefined where there are too many for ranges and one is too large for flags. */
function inCodes(
  column: { codes: Codes; present: Uint32Array | null },
  codeCount: number,
  wanted: number[],
): Truth | undefined {
  const { codes, present } = column;
  const isWhole = !(codes instanceof Float64Array);
  const ranges = rangesOf(wanted, isWhole);
  if (ranges.length <= MAX_RANGES) {
    return ranges.map((range) => truthOfRange(column, codeCount, range)).reduce(eitherTruth, never(present));
  }
  const most = ranges[ranges.length - 1].high;
  if (!isWhole || most > MAX_FLAGGED_CODE) return undefined;
  const flags = new Uint32Array(wordsFor(most + 1));
  for (const code of wanted) setBit(flags, code);
  return truthOfLeaf({ kind: 'flags', codes, flags, negate: false, present });
}

/** Codes as ranges, ascending; whole ones that follow each other are one range. */
function rangesOf(codes: number[], areWhole: boolean): CodeRange[] {
  const ranges: CodeRange[] = [];
  for (const code of Float64Array.from(codes).sort()) {
    const last = ranges[ranges.length - 1];
    if (last && (code === last.high || (areWhole && code === last.high + 1))) last.high = code;
    else ranges.push({ low: code, high: code });
  }
  return ranges;
}

function eitherTruth(a: Truth, b: Truth): Truth {
  return { whenTrue: either(a.whenTrue, b.whenTrue), whenFalse: both(a.whenFalse, b.whenFalse) };
}

function numberIn(value: NumberNode, wanted: (number | bigint)[], context: Context): Truth {
  const { values, present } = value.evaluate(context);
  const set = new Set(wanted.map(comparable));
  const bits = noBits(context);
  const mask = maskOf(values);
  for (let index = 0; index < context.itemCount; index++) {
    if (set.has(comparable(values[index & mask]))) setBit(bits, index);
  }
  return truthOfBits(bits, present);
}

/** Equal numbers as equal keys: a bigint becomes a double where that is exact. */
function comparable(value: number | bigint): number | bigint {
  if (typeof value === 'number') return value;
  return BigInt(Number(value)) === value ? Number(value) : value;
}

/** `value in attribute`, for an attribute of many strings an item. */
export function inAttribute(start: number, value: StringNode, name: string): BoolNode {
  return boolNode(start, false, (context) => {
    const column = columnOf(context, name, 'string[]');
    if (column === undefined) return failure;
    if (!value.constant) return stringInList(value.evaluate(context), column, context);
    const text = constantText(value, context);
    if (text === undefined) return failure;
    const code = findString(column.dictionary, text);
    if (code < 0) return never(column.present);
    const flags = new Uint32Array(wordsFor(code + 1));
    setBit(flags, code);
    const { offsets, codes, present } = column;
    return truthOfLeaf({ kind: 'anyFlag', offsets, codes, flags, negate: false, present });
  });
}

/** Each item's own string in each item's own list. */
function stringInList(strings: Strings, column: StringListColumn, context: Context): Truth {
  const { codes, offsets, dictionary } = column;
  const present = presentInBoth(strings, column, context);
  // The column's code of each of the strings; −1 is none.
  const codeOf = new Float64Array(strings.dictionary.length);
  for (let index = 0; index < codeOf.length; index++) {
    codeOf[index] = findString(dictionary, strings.dictionary.at(index)!);
  }
  const mask = maskOf(strings.codes);
  const bits = noBits(context);
  for (let index = 0; index < context.itemCount; index++) {
    if (!isPresent({ present }, index)) continue;
    const code = codeOf[strings.codes[index & mask]];
    for (let at = offsets[index]; at < offsets[index + 1]; at++) {
      if (codes[at] !== code) continue;
      setBit(bits, index);
      break;
    }
  }
  return truthOfBits(bits, present);
}
