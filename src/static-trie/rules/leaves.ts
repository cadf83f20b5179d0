import type { AttributeType, ColumnByType } from '../columns.js';
import { textOf } from '../columns.js';
import { decodeNumbers } from '../number-column.js';
import type { StringTable } from '../string-table.js';
import { always, failure, never, truthOfBits } from './scan-tree.js';
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
  type Texts,
} from './values.js';

/** A bool, string or number that is the same for all items. */
export function boolConstant(start: number, value: boolean): BoolNode {
  return boolNode(start, true, () => (value ? always(null) : never(null)));
}

export function stringConstant(start: number, text: string): StringNode {
  const node = stringNode(start, true, () => ({
    codes: new Uint8Array(1),
    dictionary: [text],
    present: null,
  }));
  return { ...node, text };
}

export function numberConstant(start: number, type: NumberType, value: number | bigint): NumberNode {
  const narrow = Number(value);
  const isExact = typeof value === 'number' || Number.isSafeInteger(narrow);
  const values = isExact ? Float64Array.of(narrow) : BigInt64Array.of(value as bigint);
  return numberNode(type, start, true, () => ({ values, present: null }));
}

/** `now`: bound when the rule is evaluated. */
export function nowConstant(start: number): NumberNode {
  return numberNode('timestamp', start, true, ({ nowMs }) => ({
    values: Float64Array.of(nowMs),
    present: null,
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
        return column ? truthOfBits(column.bits, column.present) : failure;
      });
    case 'string':
      return stringNode(start, false, (context) => {
        const column = columnOf(context, name, type);
        if (!column) return { codes: new Uint8Array(1), dictionary: [''], present: noBits(context) };
        const { codes, dictionary, present } = column;
        return { codes, dictionary: textsOf(dictionary), sorted: dictionary, present };
      });
    default: {
      const node = numberNode(type === 'int64' ? 'int' : type, start, false, (context) => {
        const column = columnOf(context, name, type);
        if (!column) return { values: new Float64Array(1), present: noBits(context) };
        const values = context.decoded.get(column) ?? decodeNumbers(column);
        context.decoded.set(column, values);
        return { values, present: column.present };
      });
      return { ...node, attribute: { name, type } };
    }
  }
}

/** `has(item.x)`: never an error. */
export function presenceNode(start: number, name: string, type: AttributeType): BoolNode {
  return boolNode(start, false, (context) => {
    const column = columnOf(context, name, type);
    if (!column) return never(null);
    return column.present ? truthOfBits(column.present, null) : always(null);
  });
}

/** The column of an attribute, or undefined where the table has none: then every item misses it. */
export function columnOf<Type extends AttributeType>(
  { table }: Context,
  name: string,
  type: Type,
): ColumnByType[Type] | undefined {
  const column = table.columns.get(name);
  if (column !== undefined && column.type !== type) {
    throw new Error(`column ${name} is ${column.type}, but the rule was compiled for ${type}`);
  }
  return column as ColumnByType[Type] | undefined;
}

/** A column's dictionary, with an error for a code that it does not have. */
export function textsOf(dictionary: StringTable): Texts {
  return { length: dictionary.length, at: (code) => textOf(dictionary, code) };
}
