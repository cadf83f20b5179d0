import { allBits, isBitSet, type Scan, scan, wordsFor } from '../../kernels/index.js';
import type { ColumnTable, DictionaryCodes, NumberColumn } from '../columns.js';
import type { StringTable } from '../string-table.js';
import { runTree, type ScanTree, type Truth } from './scan-tree.js';

/**
 * The numbers or strings of a subexpression for all items at once. An item whose `present` bit is clear has
 * none (it misses an attribute, or its arithmetic failed), and its slot in the other arrays means nothing;
 * null: every item has one. A constant has one slot for all items; that is why readers index with
 * `i & maskOf(array)`.
 */
interface Values {
  present: Uint32Array | null;
}
/** int: exact, in doubles while every value is a safe integer, else in a BigInt64Array. Times are in ms. */
export interface Numbers extends Values {
  values: Float64Array | BigInt64Array;
}
/** `dictionary.at(codes[i])`; a dictionary may hold a string twice, unless it is `sorted`. */
export interface Strings extends Values {
  codes: DictionaryCodes;
  dictionary: Texts;
  /** The dictionary where it is a column's. */
  sorted?: StringTable;
}

/** Strings by number, each made when it is asked for: there may be millions. */
export interface Texts {
  readonly length: number;
  at(index: number): string | undefined;
}

/** What an evaluation runs over: the items of a table, or the entries of a dictionary in a macro's test. */
export interface Context {
  itemCount: number;
  table: ColumnTable;
  nowMs: number;
  scanWith: Scan;
  /** The macro variable's values. */
  local?: Strings;
  /** Where constants are evaluated, once: a context of a single item. */
  one?: Context;
  /** What has been evaluated or decoded already. */
  truths: Map<BoolNode, Truth>;
  decoded: Map<NumberColumn, Float64Array>;
}

export function newContext(
  itemCount: number,
  table: ColumnTable,
  nowMs: number,
  scanWith: Scan,
  local?: Strings,
): Context {
  const one = {
    itemCount: 1,
    table: { itemCount: 1, columns: new Map() },
    nowMs,
    scanWith: scan,
    truths: new Map(),
    decoded: new Map(),
  };
  const context = { itemCount, table, nowMs, scanWith, one, truths: new Map(), decoded: new Map() };
  return local ? { ...context, local } : context;
}

export type NumberType = 'int' | 'double' | 'timestamp' | 'duration';
interface Typed<Type extends string> {
  type: Type;
  /** Reads no attribute and no macro variable. */
  constant: boolean;
  /** Where the subexpression starts in the source. */
  start: number;
}
/** `lower`: for truthOf only, which remembers. */
export type BoolNode = Typed<'bool'> & { lower(context: Context): Truth };
/** `attribute`: where it is nothing but an attribute, which comparisons read without decoding it. */
export type NumberNode = Typed<NumberType> & {
  evaluate(context: Context): Numbers;
  attribute?: { name: string; type: NumberColumn['type'] };
};
/** `text`: the string where it is known when the rule is compiled. */
export type StringNode = Typed<'string'> & { evaluate(context: Context): Strings; text?: string };
export type ScalarNode = BoolNode | NumberNode | StringNode;
/** A list attribute, or a list of constants; lists are read by `in`, `size` and macros only. */
export type ListNode =
  | { type: 'string[]'; start: number; attribute: string }
  | { type: 'list'; start: number; elements: ScalarNode[] };
export type Node = ScalarNode | ListNode;

export function boolNode(start: number, constant: boolean, lower: BoolNode['lower']): BoolNode {
  return { type: 'bool', start, constant, lower };
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

/** For which items a node is true, and for which it is false. */
export function truthOf(node: BoolNode, context: Context): Truth {
  let truth = context.truths.get(node);
  if (truth === undefined) {
    truth =
      node.constant && context.one ? spread(truthOf(node, context.one), context.one) : node.lower(context);
    context.truths.set(node, truth);
  }
  return truth;
}

/** The items of a tree, as a bitmap that the caller owns. */
export function bitsOf(tree: ScanTree, { itemCount, scanWith }: Context): Uint32Array {
  return runTree(tree, itemCount, scanWith);
}

/** A constant's truth for any number of items. */
function spread({ whenTrue, whenFalse }: Truth, one: Context): Truth {
  const whole = (tree: ScanTree) => (isBitSet(bitsOf(tree, one), 0) ? 'all' : 'none');
  return { whenTrue: whole(whenTrue), whenFalse: whole(whenFalse) };
}

/** Evaluates a constant for one item; its one slot stands for all. */
function once<Of extends Values>(evaluate: (context: Context) => Of): (context: Context) => Of {
  return (context) => {
    if (context.one === undefined) return evaluate(context);
    const value = evaluate(context.one);
    return { ...value, present: isPresent(value, 0) ? null : noBits(context) };
  };
}

/** A constant bool, or undefined where it is an error. */
export function constantBool(node: BoolNode, context: Context): boolean | undefined {
  const place = context.one ?? context;
  const { whenTrue, whenFalse } = truthOf(node, place);
  if (isBitSet(bitsOf(whenTrue, place), 0)) return true;
  return isBitSet(bitsOf(whenFalse, place), 0) ? false : undefined;
}

/** A constant number, or undefined where it is an error. */
export function constantNumber(node: NumberNode, context: Context): number | bigint | undefined {
  const value = node.evaluate(context.one ?? context);
  return isPresent(value, 0) ? value.values[0] : undefined;
}

/** A constant string, or undefined where it is an error. */
export function constantText(node: StringNode, context: Context): string | undefined {
  const value = node.evaluate(context.one ?? context);
  return isPresent(value, 0) ? value.dictionary.at(value.codes[0]) : undefined;
}

/** 0 for the one slot of a constant, −1 (every bit) for an array with a slot for each item. */
export function maskOf(array: { length: number }): number {
  return array.length === 1 ? 0 : -1;
}

export function noBits({ itemCount }: Context): Uint32Array {
  return new Uint32Array(wordsFor(itemCount));
}

export function isPresent({ present }: Values, index: number): boolean {
  return present === null || isBitSet(present, index);
}

/** The items that have both values; a bitmap of the caller's own. */
export function presentInBoth(a: Values, b: Values, context: Context): Uint32Array {
  const bits = ownPresence(a, context);
  if (b.present) for (let word = 0; word < bits.length; word++) bits[word] &= b.present[word];
  return bits;
}

/** The items that have a value; a bitmap of the caller's own. */
export function ownPresence({ present }: Values, { itemCount }: Context): Uint32Array {
  return present ? present.slice() : allBits(itemCount);
}
