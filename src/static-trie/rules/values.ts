import { allBits, isBitSet, wordsFor } from '../../kernels/index.js';
import type { ColumnTable } from '../columns.js';

/**
 * The values of a subexpression for all items at once. An item whose `isError` bit is set has none (it
 * misses an attribute, or its arithmetic failed), and its slot in the other arrays means nothing.
 * A constant has one slot for all items; that is why readers index with `i & maskOf(array)`.
 */
export interface Bools {
  /** Never set together with isError; false is neither. */
  isTrue: Uint32Array;
  isError: Uint32Array;
}
/** int: exact, in doubles while every value is a safe integer, else in a BigInt64Array. Times are in ms. */
export interface Numbers {
  values: Float64Array | BigInt64Array;
  isError: Uint32Array;
}
/** `dictionary[codes[i]]`; a dictionary may hold a string twice. */
export interface Strings {
  codes: Uint32Array;
  dictionary: readonly string[];
  isError: Uint32Array;
}
export type Value = Bools | Numbers | Strings;

/** What an evaluation runs over: the items of a table, or the entries of a dictionary in a macro's body. */
export interface Context {
  itemCount: number;
  table: ColumnTable;
  nowMs: number;
  /** Every item's bit; bits beyond itemCount are clear, here and in every bitmap. */
  all: Uint32Array;
  /** The macro variable's values. */
  local?: Strings;
  /** Where constants are evaluated, once: a context of a single item. */
  one?: Context;
}

export function newContext(itemCount: number, table: ColumnTable, nowMs: number, local?: Strings): Context {
  const nothing = { itemCount: 1, columns: new Map() };
  const one = { itemCount: 1, table: nothing, nowMs, all: allBits(1) };
  return { itemCount, table, nowMs, all: allBits(itemCount), one, ...(local && { local }) };
}

export type NumberType = 'int' | 'double' | 'timestamp' | 'duration';
interface Typed<Type extends string, Of extends Value> {
  type: Type;
  /** Reads no attribute and no macro variable. */
  constant: boolean;
  /** Where the subexpression starts in the source. */
  start: number;
  evaluate(context: Context): Of;
}
export type BoolNode = Typed<'bool', Bools>;
export type NumberNode = Typed<NumberType, Numbers>;
/** `text`: the string where it is known when the rule is compiled. */
export type StringNode = Typed<'string', Strings> & { text?: string };
export type ScalarNode = BoolNode | NumberNode | StringNode;
/** A list attribute, or a list of constants; lists are read by `in`, `size` and macros only. */
export type ListNode =
  | { type: 'string[]'; start: number; attribute: string }
  | { type: 'list'; start: number; elements: ScalarNode[] };
export type Node = ScalarNode | ListNode;

export function boolNode(start: number, constant: boolean, evaluate: BoolNode['evaluate']): BoolNode {
  return { type: 'bool', start, constant, evaluate: constant ? once(evaluate) : evaluate };
}
export function numberNode(
  type: NumberType,
  start: number,
  constant: boolean,
  evaluate: NumberNode['evaluate'],
): NumberNode {
  return { type, start, constant, evaluate: constant ? once(evaluate) : evaluate };
}
export function stringNode(start: number, constant: boolean, evaluate: StringNode['evaluate']): StringNode {
  return { type: 'string', start, constant, evaluate: constant ? once(evaluate) : evaluate };
}

/** Evaluates a constant for one item and spreads its bits; `values` and `codes` stay of one slot. */
function once<Of extends Value>(evaluate: (context: Context) => Of): (context: Context) => Of {
  return (context) => {
    if (context.one === undefined) return evaluate(context);
    const value = evaluate(context.one);
    const spread = (bits: Uint32Array) => (isBitSet(bits, 0) ? context.all : noBits(context));
    const isError = spread(value.isError);
    return 'isTrue' in value ? { ...value, isTrue: spread(value.isTrue), isError } : { ...value, isError };
  };
}

/** 0 for the one slot of a constant, −1 (every bit) for an array with a slot for each item. */
export function maskOf(array: { length: number }): number {
  return array.length === 1 ? 0 : -1;
}

export function noBits({ itemCount }: Context): Uint32Array {
  return new Uint32Array(wordsFor(itemCount));
}

export function union(a: Uint32Array, b: Uint32Array): Uint32Array {
  return a.map((word, index) => word | b[index]);
}

/** The bits of `a` that `b` has not. */
export function without(a: Uint32Array, b: Uint32Array): Uint32Array {
  return a.map((word, index) => word & ~b[index]);
}

/** Items whose code has a flag. */
export function bitsByCode(codes: Uint32Array, flags: Uint8Array, itemCount: number): Uint32Array {
  const bits = new Uint32Array(wordsFor(itemCount));
  const mask = maskOf(codes);
  for (let base = 0; base < itemCount; base += 32) {
    const end = Math.min(32, itemCount - base);
    let word = 0;
    for (let bit = 0; bit < end; bit++) word |= flags[codes[(base + bit) & mask]] << bit;
    bits[base >>> 5] = word;
  }
  return bits;
}
