import { wordsFor } from '../../kernels/index.js';
import type { AttributeType, Column } from '../columns.js';
import {
  type BoolNode,
  boolNode,
  type Context,
  type NumberNode,
  type NumberType,
  noBits,
  numberNode,
  type ScalarNode,
  type StringNode,
  stringNode,
  without,
} from './values.js';

/** A bool, string or number that is the same for all items. */
export function boolConstant(start: number, value: boolean): BoolNode {
  return boolNode(start, true, (context) => ({
    isTrue: value ? context.all : noBits(context),
    isError: noBits(context),
  }));
}

export function stringConstant(start: number, text: string): StringNode {
  const node = stringNode(start, true, (context) => ({
    codes: new Uint32Array(1),
    dictionary: [text],
    isError: noBits(context),
  }));
  return { ...node, text };
}

export function numberConstant(start: number, type: NumberType, value: number | bigint): NumberNode {
  const narrow = Number(value);
  const isExact = typeof value === 'number' || Number.isSafeInteger(narrow);
  const values = isExact ? Float64Array.of(narrow) : BigInt64Array.of(value as bigint);
  return numberNode(type, start, true, (context) => ({ values, isError: noBits(context) }));
}

/** `now`: bound when the rule is evaluated. */
export function nowConstant(start: number): NumberNode {
  return numberNode('timestamp', start, true, (context) => ({
    values: Float64Array.of(context.nowMs),
    isError: noBits(context),
  }));
}

/** An attribute of one value an item; where it is missing, the item's value is an error. */
export function attributeNode(
  start: number,
  name: string,
  type: Exclude<AttributeType, 'string[]'>,
): ScalarNode {
  switch (type) {
    case 'bool':
      return boolNode(start, false, (context) => {
        const column = columnOf(context, name, type);
        const isError = missing(context, column);
        const isTrue = column ? bitsOf(column.values, context.itemCount) : noBits(context);
        return { isTrue: without(isTrue, isError), isError };
      });
    case 'string':
      return stringNode(start, false, (context) => {
        const column = columnOf(context, name, type);
        const isError = missing(context, column);
        if (!column) return { codes: new Uint32Array(1), dictionary: [''], isError };
        return { codes: column.codes, dictionary: column.dictionary, isError };
      });
    default:
      return numberNode(type === 'int64' ? 'int' : type, start, false, (context) => {
        const column = columnOf(context, name, type);
        return { values: column?.values ?? new Float64Array(1), isError: missing(context, column) };
      });
  }
}

/** `has(item.x)`: never an error. */
export function presenceNode(start: number, name: string, type: AttributeType): BoolNode {
  return boolNode(start, false, (context) => ({
    isTrue: without(context.all, missing(context, columnOf(context, name, type))),
    isError: noBits(context),
  }));
}

/** The column of an attribute, or undefined where the table has none: then every item misses it. */
export function columnOf<Type extends AttributeType>(
  { table }: Context,
  name: string,
  type: Type,
): (Column & { type: Type }) | undefined {
  const column = table.columns.get(name);
  if (column !== undefined && column.type !== type) {
    throw new Error(`column ${name} is ${column.type}, but the rule was compiled for ${type}`);
  }
  return column as (Column & { type: Type }) | undefined;
}

/** The items without a value in a column. */
export function missing({ all }: Context, column: Column | undefined): Uint32Array {
  return column ? without(all, column.present) : all;
}

function bitsOf(bytes: Uint8Array, itemCount: number): Uint32Array {
  const bits = new Uint32Array(wordsFor(itemCount));
  for (let index = 0; index < itemCount; index++) bits[index >>> 5] |= bytes[index] << (index & 31);
  return bits;
}
