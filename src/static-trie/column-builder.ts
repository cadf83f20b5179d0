import { setBit, wordsFor } from '../kernels/index.js';
import { BitList } from './bit-list.js';
import type { AttributeType, AttributeValue, Column, NumberColumn } from './columns.js';
import { GrowingArray } from './growing-array.js';
import { codeTypeFor, narrowNumbers } from './number-column.js';
import { dictionaryOrder } from './sorted-strings.js';
import { StringTableBuilder } from './string-table.js';

/** Collects an attribute's values row by row, without a JS object for each, and makes its column of them. */
export interface ColumnBuilder {
  /** Rows so far. */
  readonly length: number;
  /** undefined is a missing value; any other must fit the type. */
  add(value: AttributeValue | undefined): void;
  /** @param order  order[i] is the row that becomes item i */
  build(order: Uint32Array): Column;
}

export function createColumnBuilder(type: AttributeType): ColumnBuilder {
  switch (type) {
    case 'bool':
      return new BoolBuilder();
    case 'string':
      return new StringBuilder();
    case 'string[]':
      return new StringListBuilder();
    default:
      return new NumberBuilder(type);
  }
}

/** Builds a column from one value per item; undefined is missing. The values must fit `type`. */
export function buildColumn(type: AttributeType, values: ReadonlyArray<AttributeValue | undefined>): Column {
  const builder = createColumnBuilder(type);
  // Not forEach, which would leave the holes of an array out.
  for (const value of values) builder.add(value);
  return builder.build(Uint32Array.from(values, (_, row) => row));
}

class BoolBuilder implements ColumnBuilder {
  readonly #present = new BitList();
  readonly #values = new BitList();

  get length(): number {
    return this.#present.length;
  }

  add(value: AttributeValue | undefined): void {
    this.#present.push(value !== undefined);
    this.#values.push(value === true);
  }

  build(order: Uint32Array): Column {
    return { type: 'bool', present: presentBits(this.#present, order), bits: bitsOf(this.#values, order) };
  }
}

class NumberBuilder implements ColumnBuilder {
  readonly #type: NumberColumn['type'];
  readonly #present = new BitList();
  readonly #values = new GrowingArray(Float64Array);

  constructor(type: NumberColumn['type']) {
    this.#type = type;
  }

  get length(): number {
    return this.#present.length;
  }

  add(value: AttributeValue | undefined): void {
    this.#present.push(value !== undefined);
    const number = (value as number | undefined) ?? 0;
    // JSON has a −0, but an integer has none.
    this.#values.push(this.#type === 'double' ? number : number + 0);
  }

  build(order: Uint32Array): Column {
    const narrowed = narrowNumbers(this.#values.view(), this.#present, order);
    return { type: this.#type, present: presentBits(this.#present, order), ...narrowed };
  }
}

class StringBuilder implements ColumnBuilder {
  readonly #present = new BitList();
  readonly #strings = new StringTableBuilder();
  readonly #numbers = new GrowingArray(Uint32Array);

  get length(): number {
    return this.#present.length;
  }

  add(value: AttributeValue | undefined): void {
    this.#present.push(value !== undefined);
    this.#numbers.push(value === undefined ? 0 : this.#strings.intern(value as string));
  }

  build(order: Uint32Array): Column {
    const { dictionary, codeOf } = sortStrings(this.#strings);
    const codes = new (codeTypeFor(dictionary.length))(order.length);
    for (let item = 0; item < order.length; item++) {
      if (this.#present.at(order[item])) codes[item] = codeOf[this.#numbers.at(order[item])];
    }
    return { type: 'string', present: presentBits(this.#present, order), codes, dictionary };
  }
}

class StringListBuilder implements ColumnBuilder {
  readonly #present = new BitList();
  readonly #strings = new StringTableBuilder();
  /** Where each row's numbers end. */
  readonly #ends = new GrowingArray(Uint32Array);
  readonly #numbers = new GrowingArray(Uint32Array);

  get length(): number {
    return this.#present.length;
  }

  add(value: AttributeValue | undefined): void {
    this.#present.push(value !== undefined);
    for (const text of (value as string[] | undefined) ?? []) this.#numbers.push(this.#strings.intern(text));
    this.#ends.push(this.#numbers.length);
  }

  build(order: Uint32Array): Column {
    const { dictionary, codeOf } = sortStrings(this.#strings);
    const offsets = new Uint32Array(order.length + 1);
    for (let item = 0; item < order.length; item++) {
      offsets[item + 1] = offsets[item] + this.#ends.at(order[item]) - this.#startOf(order[item]);
    }
    const codes = new (codeTypeFor(dictionary.length))(offsets[order.length]);
    for (let item = 0, to = 0; item < order.length; item++) {
      const end = this.#ends.at(order[item]);
      for (let from = this.#startOf(order[item]); from < end; from++)
        codes[to++] = codeOf[this.#numbers.at(from)];
    }
    return { type: 'string[]', present: presentBits(this.#present, order), offsets, codes, dictionary };
  }

  #startOf(row: number): number {
    return row === 0 ? 0 : this.#ends.at(row - 1);
  }
}

/** The strings by their UTF-8 bytes, and the new number of each. */
function sortStrings(strings: StringTableBuilder) {
  const order = dictionaryOrder(strings);
  const codeOf = new Uint32Array(order.length);
  for (let code = 0; code < order.length; code++) codeOf[order[code]] = code;
  return { dictionary: strings.build(order), codeOf };
}

function presentBits(present: BitList, order: Uint32Array): Uint32Array | null {
  return present.trueCount === present.length ? null : bitsOf(present, order);
}

function bitsOf(list: BitList, order: Uint32Array): Uint32Array {
  const bits = new Uint32Array(wordsFor(order.length));
  for (let item = 0; item < order.length; item++) {
    if (list.at(order[item])) setBit(bits, item);
  }
  return bits;
}
