import { constants, isUtf8 } from 'node:buffer';
import { EspalierError } from '../errors.js';
import { type Codes, isBitSet, nextSetBit } from '../kernels/index.js';
import type { Column, NumberColumn } from './columns.js';
import type { NumberEncoding } from './number-column.js';
import type { StringTable } from './string-table.js';

const DAY_MS = 86_400_000;
/** Timestamps are written with years from 1 to 9999, at offsets of less than a day. */
const FIRST_TIME_MS = Date.parse('0001-01-01') - DAY_MS;
const LAST_TIME_MS = Date.parse('9999-12-31') + 2 * DAY_MS;

/**
 * Reads a whole column: every code has a value of the column's type, and offsets and dictionary ascend.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT with the first fault.
 */
export function verifyColumn(name: string, column: Column, itemCount: number): void {
  const { present } = column;
  if (present) verifyEnd(`${name}.present`, present, itemCount);
  switch (column.type) {
    case 'bool':
      verifyEnd(`${name}.bits`, column.bits, itemCount);
      break;
    case 'string':
    case 'string[]': {
      const { dictionary, codes } = column;
      verifyTexts(`${name}.dictionary`, dictionary);
      verifyOrder(`${name}.dictionary`, dictionary);
      if (column.type === 'string[]') verifyOffsets(`${name}.offsets`, column.offsets, codes.length);
      // A list's codes are not one an item, and none of them is missing.
      const presentCodes = column.type === 'string' ? present : null;
      verifyCodes(name, codes, presentCodes, (code) => code < dictionary.length);
      break;
    }
    default:
      verifyCodes(name, column.codes, present, numberTest(column));
  }
}

/** Strings that read as UTF-8 as a whole and one by one. */
export function verifyTexts(name: string, { bytes, offsets }: StringTable): void {
  verifyOffsets(`${name}.offsets`, offsets, bytes.length);
  for (let index = 1; index < offsets.length; index++) {
    const start = offsets[index - 1];
    if (start < offsets[index] && (bytes[start] & 0xc0) === 0x80) {
      throw corrupt(`${name}: string ${index - 1} must not begin inside a character`);
    }
    if (offsets[index] - start > constants.MAX_STRING_LENGTH) {
      throw corrupt(`${name}: string ${index - 1} is longer than strings can be`);
    }
  }
  if (!isUtf8(bytes)) throw corrupt(`${name}: expected UTF-8`);
}

function numberTest({ type, encoding }: NumberColumn): (code: number) => boolean {
  const isValue = (value: number) =>
    type === 'double'
      ? Number.isFinite(value)
      : Number.isSafeInteger(value) &&
        (type === 'int64' || (value >= FIRST_TIME_MS && value <= LAST_TIME_MS));
  switch (encoding.kind) {
    case 'affine':
      return (code) => isValue(encoding.base + encoding.step * code);
    case 'dictionary':
      return dictionaryTest(encoding, isValue);
    case 'plain':
      return isValue;
  }
}

function dictionaryTest(
  { values }: NumberEncoding & { kind: 'dictionary' },
  isValue: (value: number) => boolean,
): (code: number) => boolean {
  const areValues = values.every(isValue);
  return (code) => areValues && code < values.length;
}

function verifyCodes(
  name: string,
  codes: Codes,
  present: Uint32Array | null,
  isGood: (code: number) => boolean,
): void {
  for (let index = 0; index < codes.length; index++) {
    // The code of a missing value means nothing.
    if (isGood(codes[index]) || (present && !isBitSet(present, index))) continue;
    throw corrupt(`${name}.codes: entry ${index}, ${codes[index]}, stands for no value`);
  }
}

function verifyOffsets(name: string, offsets: Uint32Array, end: number): void {
  for (let index = 1; index < offsets.length; index++) {
    if (offsets[index] < offsets[index - 1]) throw corrupt(`${name}: entry ${index} must not descend`);
  }
  if (offsets[0] !== 0 || offsets[offsets.length - 1] !== end)
    throw corrupt(`${name}: expected offsets from 0 to ${end}`);
}

/** By UTF-8 bytes, without duplicates. */
function verifyOrder(name: string, table: StringTable): void {
  const { bytes, offsets, length } = table;
  for (let index = 1; index < length; index++) {
    if (table.compare(index, bytes.subarray(offsets[index - 1], offsets[index])) > 0) continue;
    throw corrupt(`${name}: string ${index} must come after the one before it`);
  }
}

/** Bits behind the last item would be counted with the others. */
function verifyEnd(name: string, bits: Uint32Array, itemCount: number): void {
  const bitCount = bits.length * 32;
  const stray = nextSetBit(bits, itemCount, bitCount);
  if (stray !== bitCount) throw corrupt(`${name}: bit ${stray} must be clear, behind ${itemCount} items`);
}

function corrupt(message: string): EspalierError {
  return new EspalierError('ESP_ARTIFACT_CORRUPT', `catalog version: ${message}`);
}
