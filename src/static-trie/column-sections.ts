import { EspalierError } from '../errors.js';
import { wordsFor } from '../kernels/index.js';
import type { AttributeType, Column } from './columns.js';
import { MAX_DICTIONARY_VALUES, type NumberEncoding } from './number-column.js';
import type { SectionArray } from './section-file.js';
import { StringTable } from './string-table.js';

/** What a file's header says of a column; plain JSON. The arrays are its sections. */
export interface ColumnMeta {
  type: AttributeType;
  /** Some item misses the value: then there is a section with one bit an item. */
  hasMissing: boolean;
  /** Of numbers. */
  encoding?: { kind: 'affine'; base: number; step: number } | { kind: 'dictionary' } | { kind: 'plain' };
}

type ArrayType = typeof Uint8Array | typeof Uint16Array | typeof Uint32Array | typeof Float64Array;
/** A section's array, of one of the types. Throws where it is absent or of another type. */
export type TakeSection = <Types extends readonly ArrayType[]>(
  name: string,
  ...types: Types
) => InstanceType<Types[number]>;

/** The arrays that a file stores of a column; their names begin with `key`. */
export function columnToSections(
  key: string,
  column: Column,
): { meta: ColumnMeta; sections: [name: string, array: SectionArray][] } {
  const sections: [string, SectionArray][] = [];
  const { type, present } = column;
  const meta: ColumnMeta = { type, hasMissing: present !== null };
  if (present) sections.push([`${key}.present`, present]);
  switch (column.type) {
    case 'bool':
      sections.push([`${key}.bits`, column.bits]);
      break;
    case 'string':
    case 'string[]':
      if (column.type === 'string[]') sections.push([`${key}.offsets`, column.offsets]);
      sections.push([`${key}.codes`, column.codes]);
      sections.push([`${key}.dictionary.bytes`, column.dictionary.bytes]);
      sections.push([`${key}.dictionary.offsets`, column.dictionary.offsets]);
      break;
    default: {
      const { encoding, codes } = column;
      sections.push([`${key}.codes`, codes]);
      if (encoding.kind === 'dictionary') sections.push([`${key}.values`, encoding.values]);
      meta.encoding = encoding.kind === 'dictionary' ? { kind: 'dictionary' } : encoding;
    }
  }
  return { meta, sections };
}

/**
 * The column of its sections. No array is read through: that takes long where items are many, and verifying has done
 * it. A code that its dictionary does not have is an error where it is read.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT where the sections are not those of a column of `itemCount` items.
 */
export function columnFromSections(
  key: string,
  meta: ColumnMeta,
  take: TakeSection,
  itemCount: number,
): Column {
  const present = meta.hasMissing ? bitsOf(`${key}.present`, take, itemCount) : null;
  switch (meta.type) {
    case 'bool':
      return { type: 'bool', present, bits: bitsOf(`${key}.bits`, take, itemCount) };
    case 'int64':
    case 'double':
    case 'timestamp':
      return { type: meta.type, present, ...numbersOf(key, meta, take, itemCount) };
    case 'string': {
      const codes = take(`${key}.codes`, Uint8Array, Uint16Array, Uint32Array);
      expectLength(`${key}.codes`, codes, itemCount);
      return { type: 'string', present, codes, dictionary: stringsOf(`${key}.dictionary`, take) };
    }
    case 'string[]': {
      const codes = take(`${key}.codes`, Uint8Array, Uint16Array, Uint32Array);
      const offsets = take(`${key}.offsets`, Uint32Array);
      expectLength(`${key}.offsets`, offsets, itemCount + 1);
      expectOffsets(`${key}.offsets`, offsets, codes.length);
      return { type: 'string[]', present, offsets, codes, dictionary: stringsOf(`${key}.dictionary`, take) };
    }
    default:
      throw corrupt(`${key}: expected a type of attribute, found ${String(meta.type)}`);
  }
}

function numbersOf(key: string, { encoding }: ColumnMeta, take: TakeSection, itemCount: number) {
  const name = `${key}.codes`;
  const codes =
    encoding?.kind === 'plain'
      ? take(name, Float64Array)
      : encoding?.kind === 'dictionary'
        ? take(name, Uint8Array, Uint16Array)
        : take(name, Uint8Array, Uint16Array, Uint32Array);
  expectLength(name, codes, itemCount);
  return { codes, encoding: encodingOf(key, encoding, take) };
}

function encodingOf(key: string, encoding: ColumnMeta['encoding'], take: TakeSection): NumberEncoding {
  switch (encoding?.kind) {
    case 'plain':
      return { kind: 'plain' };
    case 'affine': {
      const { base, step } = encoding;
      if (Number.isSafeInteger(base) && Number.isSafeInteger(step) && step >= 1)
        return { kind: 'affine', base, step };
      throw corrupt(`${key}: expected an integer base and a positive step, found ${base} and ${step}`);
    }
    case 'dictionary': {
      const values = take(`${key}.values`, Float64Array);
      // A search in values that do not ascend would find nothing where there is something.
      const isAscending = values.every((value, index) =>
        index === 0 ? Number.isFinite(value) : value > values[index - 1] && Number.isFinite(value),
      );
      if (isAscending && values.length <= MAX_DICTIONARY_VALUES) return { kind: 'dictionary', values };
      throw corrupt(`${key}.values: expected at most ${MAX_DICTIONARY_VALUES} values that ascend`);
    }
    default:
      throw corrupt(`${key}: expected an encoding of numbers, found ${JSON.stringify(encoding)}`);
  }
}

function stringsOf(key: string, take: TakeSection): StringTable {
  const bytes = take(`${key}.bytes`, Uint8Array);
  const offsets = take(`${key}.offsets`, Uint32Array);
  expectOffsets(`${key}.offsets`, offsets, bytes.length);
  return new StringTable(bytes, offsets);
}

function bitsOf(name: string, take: TakeSection, itemCount: number): Uint32Array {
  const bits = take(name, Uint32Array);
  expectLength(name, bits, wordsFor(itemCount));
  return bits;
}

function expectLength(name: string, array: SectionArray, length: number): void {
  if (array.length !== length) throw corrupt(`${name}: expected ${length} entries, found ${array.length}`);
}

/** What lies between is read when the file is verified. */
function expectOffsets(name: string, offsets: Uint32Array, end: number): void {
  const isFull = offsets.length > 0 && offsets[0] === 0 && offsets[offsets.length - 1] === end;
  if (!isFull) throw corrupt(`${name}: expected offsets from 0 to ${end}`);
}

function corrupt(message: string): EspalierError {
  return new EspalierError('ESP_ARTIFACT_CORRUPT', message);
}
