import {
  type AttributeSchema,
  type AttributeType,
  type AttributeValue,
  buildColumn,
  type Column,
  type ColumnTable,
} from '../../../src/static-trie/index.js';
import type { Random } from '../random.js';
import { NOW_MS, type Pools } from './random-rule.js';

const DAY_MS = 86_400_000;

interface Profile {
  type: AttributeType;
  /** The value that stands at a place of [0, 2^32). */
  at: (place: number) => AttributeValue;
}

/** Attributes whose values call for every encoding, given enough items. */
const profiles: Record<string, Profile> = {
  flag: { type: 'bool', at: (place) => place % 3 === 0 },
  small: { type: 'int64', at: (place) => place % 200 },
  stepped: { type: 'int64', at: (place) => -1_000_003 + (place % 40_000) * 7 },
  wide: { type: 'int64', at: (place) => -(2 ** 40) + place * 10 },
  extreme: { type: 'int64', at: (place) => (place % 2 ? 1 : -1) * (2 ** 53 - 1 - (place % 1000)) },
  price: { type: 'double', at: (place) => (place % 150) / 20 - 2.55 },
  cents: { type: 'double', at: (place) => (place % 3000) / 100 },
  whole: { type: 'double', at: (place) => (place % 70_000) * 4 - 1000 },
  zeros: { type: 'double', at: (place) => [-0, 0, 1.5, -2, 1e300][place % 5] },
  ratio: { type: 'double', at: (place) => place / 2 ** 32 },
  day: { type: 'timestamp', at: (place) => NOW_MS - (place % 400) * DAY_MS },
  moment: { type: 'timestamp', at: (place) => NOW_MS - (place % 2 ** 24) },
  brand: { type: 'string', at: (place) => wordAt(place % 40) },
  title: { type: 'string', at: (place) => wordAt(place % 5000) },
  tags: { type: 'string[]', at: (place) => wordsAt(place, 60) },
  terms: { type: 'string[]', at: (place) => wordsAt(place, 80_000) },
};

/** Words that share beginnings, some of them beyond ASCII and beyond the basic plane. */
function wordAt(place: number): string {
  return ['', 'a', 'ab', 'é', '～', '💥', 'U"\\'][place % 7] + (place < 7 ? '' : place.toString(36));
}

function wordsAt(place: number, count: number): string[] {
  return Array.from({ length: place % 4 }, (_, index) => wordAt((place + index * 7919) % count));
}

/** A table of some of the attributes, its values from a few places or from many, missing never to always. */
export function narrowTable(random: Random, itemCount: number) {
  const schema: Record<string, { type: AttributeType }> = {};
  const columns = new Map<string, Column>();
  const pools = { words: [''], ints: [0], doubles: [0], times: [NOW_MS] };
  for (const [name, { type, at }] of Object.entries(profiles)) {
    if (random.chance(0.5)) continue;
    schema[name] = { type };
    const places = random.chance(0.5) ? 5 : 2 ** 32;
    const missing = random.pick([0, 0, 0.3, 1]);
    const values = Array.from({ length: itemCount }, () =>
      random.chance(missing) ? undefined : at(random.below(places)),
    );
    columns.set(name, buildColumn(type, values));
    for (let sample = 0; sample < 6; sample++) addTo(pools, type, values[random.below(itemCount)], random);
  }
  const table: ColumnTable = { itemCount, columns };
  return { schema: schema as AttributeSchema, table, pools: pools as Pools };
}

/** A value that is there, or one just beside it, as something that rules compare with. */
function addTo(
  pools: { words: string[]; ints: number[]; doubles: number[]; times: number[] },
  type: AttributeType,
  value: AttributeValue | undefined,
  random: Random,
): void {
  if (value === undefined) return;
  const beside = random.pick([0, 0, 1, -1, 0.5, -0.01]);
  if (typeof value === 'string') pools.words.push(value, Array.from(value).slice(0, 1).join(''));
  else if (Array.isArray(value)) pools.words.push(...value);
  else if (type === 'timestamp') pools.times.push((value as number) + Math.round(beside));
  else if (typeof value === 'number') {
    pools.doubles.push(value + beside);
    if (Number.isSafeInteger(value) && !Object.is(value, -0)) pools.ints.push(value + Math.round(beside));
  }
}
