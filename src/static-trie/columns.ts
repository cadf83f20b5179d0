import { type Codes, isBitSet } from '../kernels/index.js';
import { badCode, type NumberEncoding, numberOf } from './number-column.js';
import type { StringTable } from './string-table.js';

/** The types that an attribute of an item can have; any value may be missing. */
export const attributeTypes = ['bool', 'int64', 'double', 'string', 'timestamp', 'string[]'] as const;
export type AttributeType = (typeof attributeTypes)[number];

/** Attribute name → type, as the catalog declares it. */
export type AttributeSchema = Readonly<Record<string, { type: AttributeType }>>;

/** An attribute's value as JSON carries it; timestamps as milliseconds since 1970. */
export type AttributeValue = boolean | number | string | string[];

/** Codes of a dictionary, as narrow as its length allows. */
export type DictionaryCodes = Uint8Array | Uint16Array | Uint32Array;

interface OfType<Type extends AttributeType> {
  type: Type;
  /** One bit an item; null where no item misses the value. What is stored for a missing value means nothing. */
  present: Uint32Array | null;
}
/** One bit an item. */
export interface BoolColumn extends OfType<'bool'> {
  bits: Uint32Array;
}
/**
 * int64: integers within ±(2^53 − 1), the range that JSON carries exactly. timestamp: ms since 1970.
 * `codes`: one an item, Float64Array where the encoding is plain.
 */
export interface NumberColumn extends OfType<'int64' | 'double' | 'timestamp'> {
  codes: Codes;
  encoding: NumberEncoding;
}
/** Item i's value is `dictionary.at(codes[i])`; the dictionary ascends by UTF-8 bytes, without duplicates. */
export interface StringColumn extends OfType<'string'> {
  codes: DictionaryCodes;
  dictionary: StringTable;
}
/** Item i's values are `dictionary.at(codes[j])` for j in [offsets[i], offsets[i + 1]). */
export interface StringListColumn extends OfType<'string[]'> {
  offsets: Uint32Array;
  codes: DictionaryCodes;
  dictionary: StringTable;
}
export interface ColumnByType {
  bool: BoolColumn;
  int64: NumberColumn;
  double: NumberColumn;
  timestamp: NumberColumn;
  string: StringColumn;
  'string[]': StringListColumn;
}
export type Column = ColumnByType[AttributeType];

/** All attributes of a catalog version, item by item in the order of its static trie. */
export interface ColumnTable {
  itemCount: number;
  columns: ReadonlyMap<string, Column>;
}

/**
 * Item `index`'s value, or undefined where it is missing.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT where its code is not in the dictionary.
 */
export function valueAt(column: Column, index: number): AttributeValue | undefined {
  if (column.present && !isBitSet(column.present, index)) return undefined;
  switch (column.type) {
    case 'bool':
      return isBitSet(column.bits, index);
    case 'int64':
    case 'double':
    case 'timestamp':
      return numberOf(column.encoding, column.codes[index]);
    case 'string':
      return textOf(column.dictionary, column.codes[index]);
    case 'string[]':
      return Array.from(column.codes.subarray(column.offsets[index], column.offsets[index + 1]), (code) =>
        textOf(column.dictionary, code),
      );
  }
}

/** Item `index`'s value as JSON answers carry it: timestamps in ISO 8601. */
export function jsonValueAt(column: Column, index: number): AttributeValue | undefined {
  return jsonValueOf(column.type, valueAt(column, index));
}

/** A value as JSON answers carry it: timestamps in ISO 8601. */
export function jsonValueOf(
  type: AttributeType,
  value: AttributeValue | undefined,
): AttributeValue | undefined {
  return type === 'timestamp' && value !== undefined ? new Date(value as number).toISOString() : value;
}

/** @throws EspalierError ESP_ARTIFACT_CORRUPT where the dictionary has no such code. */
export function textOf(dictionary: StringTable, code: number): string {
  if (code < dictionary.length) return dictionary.at(code);
  throw badCode(code, dictionary.length);
}
