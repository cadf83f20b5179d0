import { isBitSet, setBit, wordsFor } from '../kernels/index.js';

/** The types that an attribute of an item can have; any value may be missing. */
export const attributeTypes = ['bool', 'int64', 'double', 'string', 'timestamp', 'string[]'] as const;
export type AttributeType = (typeof attributeTypes)[number];

/** Attribute name → type, as the catalog declares it. */
export type AttributeSchema = Readonly<Record<string, { type: AttributeType }>>;

/** An attribute's value as JSON carries it; timestamps as milliseconds since 1970. */
export type AttributeValue = boolean | number | string | string[];

/** bool: one byte an item, 0 or 1. `present`: one bit an item; a value that is not present means nothing. */
export interface BoolColumn {
  type: 'bool';
  present: Uint32Array;
  values: Uint8Array;
}
/** int64: integers within ±(2^53 − 1), the range that JSON carries exactly. timestamp: ms since 1970. */
export interface NumberColumn {
  type: 'int64' | 'double' | 'timestamp';
  present: Uint32Array;
  values: Float64Array;
}
/** string: `dictionary[codes[i]]` is item i's value. */
export interface StringColumn {
  type: 'string';
  present: Uint32Array;
  codes: Uint32Array;
  dictionary: readonly string[];
}
/** string[]: item i's values are `dictionary[codes[j]]` for j in [offsets[i], offsets[i + 1]). */
export interface StringListColumn {
  type: 'string[]';
  present: Uint32Array;
  offsets: Uint32Array;
  codes: Uint32Array;
  dictionary: readonly string[];
}
export type Column = BoolColumn | NumberColumn | StringColumn | StringListColumn;

/** All attributes of a catalog version, item by item in the order of its static trie. */
export interface ColumnTable {
  itemCount: number;
  columns: ReadonlyMap<string, Column>;
}

/** Item `index`'s value, or undefined where it is missing. */
export function valueAt(column: Column, index: number): AttributeValue | undefined {
  if (!isBitSet(column.present, index)) return undefined;
  switch (column.type) {
    case 'bool':
      return column.values[index] === 1;
    case 'int64':
    case 'double':
    case 'timestamp':
      return column.values[index];
    case 'string':
      return column.dictionary[column.codes[index]];
    case 'string[]':
      return Array.from(
        column.codes.subarray(column.offsets[index], column.offsets[index + 1]),
        (code) => column.dictionary[code],
      );
  }
}

/** Item `index`'s value as JSON answers carry it: timestamps in ISO 8601. */
export function jsonValueAt(column: Column, index: number): AttributeValue | undefined {
  const value = valueAt(column, index);
  if (value === undefined || column.type !== 'timestamp') return value;
  return new Date(value as number).toISOString();
}

/** Builds a column from one value per item; undefined is missing. The values must fit `type`. */
export function buildColumn(type: AttributeType, values: ReadonlyArray<AttributeValue | undefined>): Column {
  const present = new Uint32Array(wordsFor(values.length));
  values.forEach((value, index) => {
    if (value !== undefined) setBit(present, index);
  });
  switch (type) {
    case 'bool':
      return { type, present, values: Uint8Array.from(values, (value) => (value === true ? 1 : 0)) };
    case 'int64':
    case 'double':
    case 'timestamp':
      return { type, present, values: Float64Array.from(values, (value) => (value as number) ?? 0) };
    case 'string': {
      const dictionary = new Dictionary();
      const codes = Uint32Array.from(values, (value) =>
        value === undefined ? 0 : dictionary.codeOf(value as string),
      );
      return { type, present, codes, dictionary: dictionary.values };
    }
    case 'string[]': {
      const dictionary = new Dictionary();
      const offsets = new Uint32Array(values.length + 1);
      const codes: number[] = [];
      values.forEach((value, index) => {
        for (const entry of (value as string[] | undefined) ?? []) codes.push(dictionary.codeOf(entry));
        offsets[index + 1] = codes.length;
      });
      return { type, present, offsets, codes: Uint32Array.from(codes), dictionary: dictionary.values };
    }
  }
}

/** Distinct strings, numbered in the order in which they first come. */
class Dictionary {
  readonly values: string[] = [];
  readonly #codes = new Map<string, number>();

  codeOf(value: string): number {
    let code = this.#codes.get(value);
    if (code === undefined) {
      code = this.values.push(value) - 1;
      this.#codes.set(value, code);
    }
    return code;
  }
}
