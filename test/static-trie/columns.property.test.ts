import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createColumnBuilder } from '../../src/static-trie/column-builder.js';
import {
  columnFromSections,
  columnToSections,
  type TakeSection,
} from '../../src/static-trie/column-sections.js';
import type { NumberColumn, StringColumn, StringListColumn } from '../../src/static-trie/columns.js';
import {
  type AttributeType,
  type AttributeValue,
  attributeTypes,
  buildColumn,
  type Column,
  jsonValueAt,
  valueAt,
} from '../../src/static-trie/index.js';
import { numberOf } from '../../src/static-trie/number-column.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

type Values = (AttributeValue | undefined)[];

const integer = fc.maxSafeInteger();
/** base + step × code, so that the narrow encodings come up. */
const affine = fc
  .tuple(
    fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
    fc.integer({ min: 1, max: 1000 }),
    fc.constantFrom(3, 300, 70_000, 2 ** 20),
  )
  .chain(([base, step, codes]) =>
    fc.array(
      fc.nat(codes).map((code) => base + step * code),
      { maxLength: 400, size: 'max' },
    ),
  );
/** A few values, many times over. */
const repeated = <Value>(value: fc.Arbitrary<Value>) =>
  fc
    .array(value, { minLength: 1, maxLength: 300 })
    .chain((values) => fc.array(fc.constantFrom(...values), { maxLength: 3000, size: 'max' }));
const double = fc.double({ noNaN: true, noDefaultInfinity: true });
const text = fc.string({ unit: 'binary', maxLength: 4 });

const valuesOf: Record<AttributeType, fc.Arbitrary<AttributeValue[]>> = {
  bool: fc.array(fc.boolean()),
  int64: fc.oneof(fc.array(integer), affine, repeated(integer)),
  double: fc.oneof(fc.array(double), affine, repeated(double), repeated(fc.constantFrom(2.55, 9.99, -0, 0))),
  timestamp: fc.oneof(affine, fc.array(fc.integer({ min: -62e12, max: 25e13 }))),
  string: fc.oneof(fc.array(text), repeated(text)),
  'string[]': fc.array(fc.array(text, { maxLength: 4 })),
};

/** A type, one value for each row, and the rows' order. */
const columnCase = fc
  .constantFrom(...attributeTypes)
  .chain((type) =>
    fc.tuple(fc.constant(type), valuesOf[type], fc.constantFrom(0, 0.3, 1), fc.infiniteStream(fc.nat(999))),
  )
  .map(([type, present, missing, dice]) => {
    const roll = () => dice.next().value / 1000;
    const values: Values = present.map((value) => (roll() < missing ? undefined : value));
    const order = Uint32Array.from(values, (_, row) => row);
    for (let last = order.length - 1; last > 0; last--) {
      const other = Math.floor(roll() * (last + 1));
      [order[last], order[other]] = [order[other], order[last]];
    }
    return { type, values, order };
  });

describe('columns', () => {
  it('keep every value exactly, in the order that is asked for, and through their sections', () => {
    const kinds = new Map<string, number>();
    fc.assert(
      fc.property(columnCase, ({ type, values, order }) => {
        const builder = createColumnBuilder(type);
        for (const value of values) builder.add(value);
        expect(builder.length).toBe(values.length);
        const built = builder.build(order);
        const kind = kindOf(built);
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
        for (const column of [built, throughSections(built, order.length)]) {
          const found = Array.from(order, (_, item) => valueAt(column, item));
          const expected = Array.from(order, (row) => integerOf(type, values[row]));
          expect(found.every((value, item) => isSame(value, expected[item]))).toBe(true);
          expect(column.present === null).toBe(!values.includes(undefined));
        }
        checkOrder(built);
      }),
      seeded('columns', 800),
    );
    console.log(Object.fromEntries([...kinds].sort()));
    for (const kind of [
      'affine Uint8Array',
      'affine Uint16Array',
      'affine Uint32Array',
      'dictionary Uint8Array',
      'plain Float64Array',
    ]) {
      expect(kinds.get(kind), kind).toBeGreaterThan(3);
    }
  });
});

function kindOf(column: Column): string {
  if (!('encoding' in column)) return column.type;
  return `${column.encoding.kind} ${column.codes.constructor.name}`;
}

/** Object.is tells −0 from 0. */
function isSame(a: AttributeValue | undefined, b: AttributeValue | undefined): boolean {
  if (!Array.isArray(a) || !Array.isArray(b)) return Object.is(a, b);
  return a.length === b.length && a.every((entry, index) => entry === b[index]);
}

function integerOf(type: AttributeType, value: AttributeValue | undefined): AttributeValue | undefined {
  return typeof value === 'number' && type !== 'double' ? value + 0 : value;
}

/** A larger code is a larger value: what makes a comparison a range of codes. */
function checkOrder(column: Column): void {
  if ('encoding' in column) {
    const codes = [...column.codes].sort((a, b) => a - b);
    const values = codes.map((code) => numberOf(column.encoding, code));
    expect(values.every((value, index) => index === 0 || values[index - 1] <= value)).toBe(true);
  } else if ('dictionary' in column) {
    const entries = [...column.dictionary].map((entry) => Buffer.from(entry));
    expect(
      entries.every((entry, index) => index === 0 || Buffer.compare(entries[index - 1], entry) < 0),
    ).toBe(true);
  }
}

function throughSections(column: Column, itemCount: number): Column {
  const { meta, sections } = columnToSections('column.x', column);
  return fromSections(JSON.parse(JSON.stringify(meta)), new Map(sections), itemCount);
}

function fromSections(
  meta: Parameters<typeof columnFromSections>[1],
  sections: ReadonlyMap<string, unknown>,
  itemCount: number,
): Column {
  const take = (name: string, ...types: (abstract new (...args: never[]) => unknown)[]) => {
    const section = sections.get(name);
    if (types.some((type) => section instanceof type)) return section as never;
    throw new Error(`no section ${name}`);
  };
  return columnFromSections('column.x', meta, take as TakeSection, itemCount);
}

describe('numbers', () => {
  const narrowed = (type: 'int64' | 'double', values: Values) => buildColumn(type, values) as NumberColumn;
  const repeat = (values: number[], times: number) => Array.from({ length: times }, () => values).flat();

  it('take the encoding with the fewest bytes', () => {
    const prices = Array.from({ length: 200 }, (_, index) => index / 20 + 2.55);
    const cents = Array.from({ length: 1000 }, (_, index) => index / 100);
    const cases: ['int64' | 'double', Values, string][] = [
      ['int64', [5, 6, 260], 'affine Uint8Array'],
      ['int64', [5, 6, 261], 'affine Uint16Array'],
      ['int64', [-30, 0, 7620], 'affine Uint8Array'],
      ['int64', [0, 1, 65_536], 'affine Uint32Array'],
      ['int64', [0, 1, 2 ** 32 - 1], 'affine Uint32Array'],
      ['int64', [0, 1, 2 ** 32], 'plain Float64Array'],
      ['int64', [1 - 2 ** 53, 2 ** 53 - 1], 'plain Float64Array'],
      ['int64', [2 ** 53 - 1, 2 ** 53 - 3], 'affine Uint8Array'],
      ['int64', repeat([0, 1, 2 ** 32], 50), 'dictionary Uint8Array'],
      ['int64', [undefined, undefined], 'affine Uint8Array'],
      ['int64', [], 'affine Uint8Array'],
      ['int64', repeat([0, -0], 50), 'affine Uint8Array'],
      ['double', [1, 2, 3], 'affine Uint8Array'],
      ['double', repeat(prices, 10), 'dictionary Uint8Array'],
      ['double', prices, 'plain Float64Array'],
      ['double', repeat(cents, 5), 'dictionary Uint16Array'],
      ['double', repeat([0, -0], 50), 'plain Float64Array'],
      ['double', [Number.NaN, 1], 'plain Float64Array'],
      ['double', [Number.POSITIVE_INFINITY, 1], 'plain Float64Array'],
    ];
    for (const [type, values, kind] of cases) {
      const column = narrowed(type, values);
      expect(kindOf(column), kind).toBe(kind);
      const found = values.map((_, item) => valueAt(column, item));
      expect(found.every((value, item) => isSame(value, integerOf(type, values[item])))).toBe(true);
    }
    expect(narrowed('int64', [-30, 0, 7620]).encoding).toEqual({ kind: 'affine', base: -30, step: 30 });
  });

  it('give times as JSON carries them', () => {
    expect(jsonValueAt(buildColumn('timestamp', [86_400_000, 0]), 0)).toBe('1970-01-02T00:00:00.000Z');
  });
});

describe('strings', () => {
  it('have dictionaries by UTF-8 bytes, and codes as narrow as they allow', () => {
    const words = Array.from({ length: 65_537 }, (_, index) => index.toString(36));
    const typeOf = (values: string[]) => (buildColumn('string', values) as StringColumn).codes.constructor;
    expect(typeOf(words.slice(0, 256))).toBe(Uint8Array);
    expect(typeOf(words.slice(0, 257))).toBe(Uint16Array);
    expect(typeOf(words.slice(0, 65_536))).toBe(Uint16Array);
    expect(typeOf(words)).toBe(Uint32Array);
    const column = buildColumn('string[]', [
      ['～', '💥', 'a'],
      undefined,
      ['a', 'a', ''],
    ]) as StringListColumn;
    // UTF-16 would put 💥 first.
    expect([...column.dictionary]).toEqual(['', 'a', '～', '💥']);
    expect([...column.codes]).toEqual([2, 3, 1, 1, 1, 0]);
    expect([...column.offsets]).toEqual([0, 3, 3, 6]);
  });

  it('order many strings as Buffer.compare does, also behind a long common beginning', () => {
    const random = new Random(1);
    const word = () =>
      Array.from({ length: random.below(6) }, () => random.pick(['a', 'b', '\0', 'é', '💥'])).join('');
    const words = new Set(
      Array.from({ length: 20_000 }, () => (random.chance(0.5) ? 'x'.repeat(300) : '') + word()),
    );
    const { dictionary } = buildColumn('string', [...words]) as StringColumn;
    const expected = [...words].map((text) => Buffer.from(text)).sort(Buffer.compare);
    expect([...dictionary]).toEqual(expected.map(String));
  });

  it('say that a file is damaged where a code has no value', () => {
    const strings = buildColumn('string', ['a', 'b']) as StringColumn;
    const lists = buildColumn('string[]', [['a'], ['b']]) as StringListColumn;
    const numbers = buildColumn(
      'double',
      Array.from({ length: 100 }, (_, row) => (row % 2) + 0.5),
    ) as NumberColumn;
    for (const column of [strings, lists, numbers]) {
      column.codes[1] = 2;
      expect(() => valueAt(column, 1)).toThrow(expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT' }));
      expect(valueAt(column, 0)).toBeDefined();
    }
  });
});

describe('sections', () => {
  const columns = {
    bool: buildColumn('bool', [true, undefined]),
    int64: buildColumn('int64', [5, 7]),
    double: buildColumn(
      'double',
      Array.from({ length: 50 }, (_, row) => (row % 2) + 0.5),
    ),
    string: buildColumn('string', ['a', 'b']),
    'string[]': buildColumn('string[]', [['a'], ['b', 'a']]),
  };
  type Damage = (parts: { meta: Record<string, unknown>; sections: Map<string, unknown> }) => void;
  const put =
    (name: string, array: unknown): Damage =>
    ({ sections }) =>
      sections.set(`column.x.${name}`, array);
  const encoding =
    (value: unknown): Damage =>
    ({ meta }) => {
      meta.encoding = value;
    };

  it.each<[string, keyof typeof columns, Damage]>([
    ['too few bits of presence', 'bool', put('present', new Uint32Array(1))],
    ['too many bits', 'bool', put('bits', new Uint32Array(4))],
    ['another type', 'bool', ({ meta }) => Object.assign(meta, { type: 'map' })],
    ['too few codes', 'int64', put('codes', new Uint8Array(1))],
    ['no encoding', 'int64', encoding(undefined)],
    ['an unknown encoding', 'int64', encoding({ kind: 'delta' })],
    ['a base between integers', 'int64', encoding({ kind: 'affine', base: 0.5, step: 1 })],
    ['no step', 'int64', encoding({ kind: 'affine', base: 0, step: 0 })],
    ['values that descend', 'double', put('values', Float64Array.of(1.5, 0.5))],
    ['a value twice', 'double', put('values', Float64Array.of(0.5, 0.5))],
    ['a value that is none', 'double', put('values', Float64Array.of(0.5, Number.NaN))],
    ['an infinite value', 'double', put('values', Float64Array.of(0.5, Number.POSITIVE_INFINITY))],
    ['too many codes', 'string', put('codes', new Uint8Array(3))],
    ['a dictionary that ends elsewhere', 'string', put('dictionary.bytes', new Uint8Array(3))],
    ['a dictionary without offsets', 'string', put('dictionary.offsets', new Uint32Array(0))],
    ['lists that end elsewhere', 'string[]', put('codes', new Uint8Array(2))],
    ['too many lists', 'string[]', put('offsets', Uint32Array.of(0, 1, 2, 3))],
  ])('refuse %s', (_, type, damage) => {
    const column = columns[type];
    const itemCount = type === 'double' ? 50 : 2;
    const { meta, sections } = columnToSections('column.x', column);
    const parts = { meta: JSON.parse(JSON.stringify(meta)), sections: new Map<string, unknown>(sections) };
    expect(() => fromSections(parts.meta, parts.sections, itemCount)).not.toThrow();
    damage(parts);
    expect(() => fromSections(parts.meta, parts.sections, itemCount)).toThrow(
      expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT' }),
    );
  });
});
