import { seededRandom } from '../../../src/cli/bench/random.js';
import { setBit, wordsFor } from '../../../src/kernels/index.js';
import {
  type AttributeSchema,
  type AttributeValue,
  buildColumn,
  type Column,
  type ColumnTable,
} from '../../../src/static-trie/index.js';

/** A test of one attribute, said in three ways, so that two of them check the third. */
export interface Predicate {
  attribute: keyof typeof schema;
  cel: string;
  /** For somebody who reads the columns' codes: an expression of JavaScript over `item` and `ArraysOf`'s names. */
  js: string;
  /** Of the value itself; undefined is missing. */
  passes(value: AttributeValue | undefined): boolean;
}

export const schema = {
  category: { type: 'string' },
  price: { type: 'double' },
  since: { type: 'timestamp' },
  stock: { type: 'int64' },
  isListed: { type: 'bool' },
  tags: { type: 'string[]' },
  brand: { type: 'string' },
  rating: { type: 'double' },
  rank: { type: 'int64' },
} as const satisfies AttributeSchema;

const CATEGORIES = 32;
const PRICES = 10_000;
const SINCE_MS = Date.UTC(2010, 0, 1);
const SECONDS = 2 ** 28;
const TAGS = 40;
const BRANDS = 1000;
/** Whole numbers below it: a rule asks for any share of the items by them. */
const RANKS = 2 ** 24;

const wanted = Array.from({ length: (CATEGORIES * 3) / 4 }, (_, index) => nameOf('c', index));
const earliest = new Date(SINCE_MS + Math.round(SECONDS * 0.1) * 1000).toISOString();

/** From one byte an item to eight, each true for most items. */
export const predicates: readonly Predicate[] = [
  {
    attribute: 'category',
    cel: `category in ${JSON.stringify(wanted)}`,
    js: `category[item] < ${wanted.length}`,
    passes: (value) => wanted.includes(value as string),
  },
  {
    attribute: 'price',
    cel: 'price < 95.0',
    js: 'price[item] < 9500',
    passes: (value) => (value as number) < 95,
  },
  {
    attribute: 'since',
    cel: `since >= timestamp("${earliest}")`,
    js: `since[item] >= ${Math.round(SECONDS * 0.1)}`,
    passes: (value) => (value as number) >= Date.parse(earliest),
  },
  {
    attribute: 'stock',
    cel: 'stock > 25',
    js: 'stock[item] > 25',
    passes: (value) => (value as number) > 25,
  },
  {
    attribute: 'isListed',
    cel: 'isListed',
    js: '((isListed[item >>> 5] >>> (item & 31)) & 1) === 1',
    passes: (value) => value === true,
  },
  {
    attribute: 'tags',
    cel: `!(${JSON.stringify(nameOf('t', 7))} in tags)`,
    js: 'tags[tagsStart[item]] !== 7 && tags[tagsStart[item] + 1] !== 7',
    passes: (value) => !(value as string[]).includes(nameOf('t', 7)),
  },
  {
    attribute: 'brand',
    cel: `brand != ${JSON.stringify(nameOf('b', 9))}`,
    js: 'brand[item] !== 9 && ((hasBrand[item >>> 5] >>> (item & 31)) & 1) === 1',
    passes: (value) => value !== undefined && value !== nameOf('b', 9),
  },
  {
    attribute: 'rating',
    cel: 'rating >= 0.5',
    js: 'rating[item] >= 0.5',
    passes: (value) => (value as number) >= 0.5,
  },
];

/** True for a share of the items. */
export function shareOfRanks(share: number): Predicate {
  const below = Math.round(RANKS * share);
  return {
    attribute: 'rank',
    cel: `rank < ${below}`,
    js: `rank[item] < ${below}`,
    passes: (value) => (value as number) < below,
  };
}

/** A catalog's attributes as a builder stores them, and what of them `Predicate.js` reads by name. */
export interface Attributes {
  table: ColumnTable;
  arrays: Record<string, ArrayLike<number>>;
}

/** The same for the same seed; made as codes, since values of 20 million items take minutes. */
export function makeAttributes(itemCount: number, seed: number): Attributes {
  const random = seededRandom(seed);
  const bits = (share: number) => {
    const words = new Uint32Array(wordsFor(itemCount));
    for (let item = 0; item < itemCount; item++) if (random() < share) setBit(words, item);
    return words;
  };
  const below = <Codes extends Uint8Array | Uint16Array | Uint32Array>(codes: Codes, count: number) => {
    for (let at = 0; at < codes.length; at++) codes[at] = random() * count;
    return codes;
  };
  const category = below(new Uint8Array(itemCount), CATEGORIES);
  const price = below(new Uint16Array(itemCount), PRICES);
  const since = below(new Uint32Array(itemCount), SECONDS);
  const stock = below(new Uint16Array(itemCount), 500);
  const isListed = bits(0.95);
  const tags = below(new Uint8Array(2 * itemCount), TAGS);
  const tagsStart = new Uint32Array(itemCount + 1).map((_, item) => 2 * item);
  const brand = below(new Uint16Array(itemCount), BRANDS);
  const hasBrand = bits(0.9);
  const rating = new Float64Array(itemCount).map(() => 5 * random());
  const rank = below(new Uint32Array(itemCount), RANKS);

  const present = null;
  const affine = (base: number, step: number) => ({ kind: 'affine', base, step }) as const;
  const prices = {
    kind: 'dictionary',
    values: new Float64Array(PRICES).map((_, code) => code / 100),
  } as const;
  const columns: Record<keyof typeof schema, Column> = {
    category: { type: 'string', present, codes: category, dictionary: dictionaryOf('c', CATEGORIES) },
    price: { type: 'double', present, codes: price, encoding: prices },
    since: { type: 'timestamp', present, codes: since, encoding: affine(SINCE_MS, 1000) },
    stock: { type: 'int64', present, codes: stock, encoding: affine(0, 1) },
    isListed: { type: 'bool', present, bits: isListed },
    tags: { type: 'string[]', present, offsets: tagsStart, codes: tags, dictionary: dictionaryOf('t', TAGS) },
    brand: { type: 'string', present: hasBrand, codes: brand, dictionary: dictionaryOf('b', BRANDS) },
    rating: { type: 'double', present, codes: rating, encoding: { kind: 'plain' } },
    rank: { type: 'int64', present, codes: rank, encoding: affine(0, 1) },
  };
  return {
    table: { itemCount, columns: new Map(Object.entries(columns)) },
    arrays: { category, price, since, stock, isListed, tags, tagsStart, brand, hasBrand, rating, rank },
  };
}

/** Bytes an item that makes up a table's columns. */
export const BYTES_AN_ITEM = 1 + 2 + 4 + 2 + 1 / 8 + 2 + 4 + 2 + 1 / 8 + 8 + 4;

/** What a rule reads of the columns, array by array. */
export function readArrays({ table }: Attributes, attributes: readonly string[]): ArrayBufferView[] {
  return attributes.flatMap((name) => {
    const column = table.columns.get(name)!;
    const present = column.present === null ? [] : [column.present];
    if (column.type === 'bool') return [column.bits, ...present];
    if (column.type === 'string[]') return [column.offsets, column.codes, ...present];
    return [column.codes, ...present];
  });
}

/** Names that ascend as their numbers do, as a dictionary's must. */
function nameOf(letter: string, number: number): string {
  return `${letter}${String(number).padStart(3, '0')}`;
}

function dictionaryOf(letter: string, count: number) {
  const names = Array.from({ length: count }, (_, code) => nameOf(letter, code));
  const column = buildColumn('string', names);
  if (column.type !== 'string') throw new Error('a column of strings has another type');
  return column.dictionary;
}
