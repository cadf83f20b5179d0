import { isBitSet, setBit } from '../../kernels/index.js';
import { columnOf, missing, numberConstant } from './leaves.js';
import {
  type BoolNode,
  type Bools,
  bitsByCode,
  boolNode,
  type Context,
  type ListNode,
  maskOf,
  type NumberNode,
  type Numbers,
  newContext,
  noBits,
  numberNode,
  type ScalarNode,
  type StringNode,
  type Strings,
  union,
  without,
} from './values.js';

/** `value in [constants]`. An element that is an error makes the whole list one. */
export function inConstants(start: number, value: ScalarNode, elements: ScalarNode[]): BoolNode {
  const constant = value.constant;
  return boolNode(start, constant, (context) => {
    const evaluated = elements.map((element) => element.evaluate(context.one ?? context));
    const listFails = evaluated.some((element) => isBitSet(element.isError, 0));
    const found = value.evaluate(context);
    const isError = listFails ? context.all : found.isError;
    let bits: Uint32Array;
    if (value.type === 'bool') {
      bits = boolsIn(found as Bools, evaluated as Bools[], context);
    } else if (value.type === 'string') {
      const { codes, dictionary } = found as Strings;
      const wanted = new Set((evaluated as Strings[]).map((element) => element.dictionary[element.codes[0]]));
      const flags = Uint8Array.from(dictionary, (entry) => Number(wanted.has(entry)));
      bits = bitsByCode(codes, flags, context.itemCount);
    } else {
      bits = numbersIn(found as Numbers, evaluated as Numbers[], context);
    }
    return { isTrue: without(bits, isError), isError };
  });
}

/** `value in attribute`, for an attribute of many strings an item. */
export function inAttribute(start: number, value: StringNode, name: string): BoolNode {
  return boolNode(start, false, (context) => {
    const column = columnOf(context, name, 'string[]');
    const found = value.evaluate(context);
    const isError = union(found.isError, missing(context, column));
    const isTrue = noBits(context);
    if (!column) return { isTrue, isError };
    // Both dictionaries in one numbering: the same string, the same number.
    const numbers = new Map<string, number>();
    const numberOf = (text: string) => {
      const known = numbers.get(text);
      if (known !== undefined) return known;
      numbers.set(text, numbers.size);
      return numbers.size - 1;
    };
    const inList = Uint32Array.from(column.dictionary, numberOf);
    const wanted = Uint32Array.from(found.dictionary, numberOf);
    const mask = maskOf(found.codes);
    for (let index = 0; index < context.itemCount; index++) {
      if (isBitSet(isError, index)) continue;
      const number = wanted[found.codes[index & mask]];
      for (let at = column.offsets[index]; at < column.offsets[index + 1]; at++) {
        if (inList[column.codes[at]] !== number) continue;
        setBit(isTrue, index);
        break;
      }
    }
    return { isTrue, isError };
  });
}

/** `size(list)`. */
export function listSize(start: number, list: ListNode): NumberNode {
  if (list.type === 'list') {
    const size = numberConstant(start, 'int', list.elements.length);
    return numberNode('int', start, true, (context) => {
      const fails = list.elements.some((element) => isBitSet(element.evaluate(context).isError, 0));
      return { ...size.evaluate(context), isError: fails ? context.all : noBits(context) };
    });
  }
  return numberNode('int', start, false, (context) => {
    const column = columnOf(context, list.attribute, 'string[]');
    const values = new Float64Array(context.itemCount);
    if (column) {
      for (let index = 0; index < values.length; index++) {
        values[index] = column.offsets[index + 1] - column.offsets[index];
      }
    }
    return { values, isError: missing(context, column) };
  });
}

export const macros = ['exists', 'all', 'exists_one'] as const;
export type Macro = (typeof macros)[number];

/**
 * `attribute.exists(x, test)` and its like. The test reads `x` and constants only, so it is evaluated
 * once for each entry of the dictionary; then each item folds the answers for its own entries as CEL
 * does: exists and all absorb errors like `||` and `&&`, exists_one does not.
 */
export function macro(start: number, kind: Macro, name: string, test: BoolNode): BoolNode {
  return boolNode(start, false, (context) => {
    const column = columnOf(context, name, 'string[]');
    const isTrue = noBits(context);
    const isError = missing(context, column).slice();
    if (!column) return { isTrue, isError };
    const answers = test.evaluate(entriesOf(column.dictionary, context));
    for (let index = 0; index < context.itemCount; index++) {
      if (isBitSet(isError, index)) continue;
      let trues = 0;
      let errors = 0;
      const count = column.offsets[index + 1] - column.offsets[index];
      for (let at = column.offsets[index]; at < column.offsets[index + 1]; at++) {
        if (isBitSet(answers.isTrue, column.codes[at])) trues++;
        else if (isBitSet(answers.isError, column.codes[at])) errors++;
      }
      const verdict = fold(kind, trues, errors, count - trues - errors);
      if (verdict === undefined) setBit(isError, index);
      else if (verdict) setBit(isTrue, index);
    }
    return { isTrue, isError };
  });
}

/** The macro's answer from how many entries are true, errors and false; undefined is an error. */
function fold(kind: Macro, trues: number, errors: number, falses: number): boolean | undefined {
  switch (kind) {
    case 'exists':
      return trues > 0 ? true : errors > 0 ? undefined : false;
    case 'all':
      return falses > 0 ? false : errors > 0 ? undefined : true;
    case 'exists_one':
      return errors > 0 ? undefined : trues === 1;
  }
}

/** The context of a macro's test: the dictionary's entries are its items. */
function entriesOf(dictionary: readonly string[], { table, nowMs }: Context): Context {
  const codes = Uint32Array.from(dictionary, (_, index) => index);
  const context = newContext(dictionary.length, table, nowMs);
  return { ...context, local: { codes, dictionary, isError: noBits(context) } };
}

function boolsIn({ isTrue, isError }: Bools, elements: Bools[], { all }: Context): Uint32Array {
  const wanted = elements.map((element) => isBitSet(element.isTrue, 0));
  const whenTrue = wanted.includes(true) ? -1 : 0;
  const whenFalse = wanted.includes(false) ? -1 : 0;
  return all.map((word, index) => {
    const isFalse = word & ~(isTrue[index] | isError[index]);
    return (isTrue[index] & whenTrue) | (isFalse & whenFalse);
  });
}

function numbersIn({ values }: Numbers, elements: Numbers[], context: Context): Uint32Array {
  // A Set finds NaN, but in CEL NaN equals nothing.
  const wanted = new Set(elements.map((element) => comparable(element.values[0])));
  wanted.delete(Number.NaN);
  const bits = noBits(context);
  const mask = maskOf(values);
  for (let index = 0; index < context.itemCount; index++) {
    if (wanted.has(comparable(values[index & mask]))) setBit(bits, index);
  }
  return bits;
}

/** Equal numbers as equal keys: a bigint becomes a double where that is exact. */
function comparable(value: number | bigint): number | bigint {
  if (typeof value === 'number') return value;
  return BigInt(Number(value)) === value ? Number(value) : value;
}
