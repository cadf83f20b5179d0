import { randomInt } from 'node:crypto';
import { EspalierError } from '../errors.js';
import { hashBytes, type StringTable } from './string-table.js';

const RADIX_BITS = 11;
/** Hashes are spread evenly: this many guesses nearly always end the search. Halving takes what is left. */
const MAX_GUESSES = 8;

/**
 * The ids of a catalog version's items, and the way back from an id to its item: a column of 32-bit hashes,
 * sorted, with the item of each. All arrays may be views of a mapped file.
 */
export class ItemIds {
  /** By item number. */
  readonly strings: StringTable;
  /** [length], ascending. */
  readonly hashes: Uint32Array;
  /** [length]: the item of each hash; those of equal hashes ascend. */
  readonly items: Uint32Array;
  /** Of the hash; random, so that nobody can prepare ids that all collide. */
  readonly seed: number;

  constructor(strings: StringTable, hashes: Uint32Array, items: Uint32Array, seed: number) {
    this.strings = strings;
    this.hashes = hashes;
    this.items = items;
    this.seed = seed;
  }

  get length(): number {
    return this.strings.length;
  }

  at(item: number): string {
    return this.strings.at(item);
  }

  /**
   * @returns the item of that id, or -1.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT where the hash column names an item that is not there.
   */
  find(id: string): number {
    // Half a surrogate pair would be encoded as U+FFFD, and find an item of that id.
    if (!id.isWellFormed()) return -1;
    const utf8 = Buffer.from(id);
    const hash = hashBytes(utf8, 0, utf8.length, this.seed);
    for (let index = firstOfHash(this.hashes, hash); this.hashes[index] === hash; index++) {
      const item = this.items[index];
      if (item >= this.length) {
        throw new EspalierError(
          'ESP_ARTIFACT_CORRUPT',
          `hash column, entry ${index}: item ${item} must be < ${this.length}`,
        );
      }
      if (this.strings.equals(item, utf8)) return item;
    }
    return -1;
  }
}

/** @param strings the ids by item number, each once. */
export function buildItemIds(strings: StringTable, seed: number = randomInt(2 ** 32)): ItemIds {
  const hashes = new Uint32Array(strings.length);
  for (let item = 0; item < hashes.length; item++) {
    hashes[item] = hashBytes(strings.bytes, strings.offsets[item], strings.offsets[item + 1], seed);
  }
  const sorted = sortByHash(hashes);
  return new ItemIds(strings, sorted.hashes, sorted.items, seed);
}

/** One stable counting sort for each digit of the hash, the lowest first: equal hashes keep their items' order. */
function sortByHash(unsorted: Uint32Array<ArrayBuffer>) {
  const { length } = unsorted;
  let from = { hashes: unsorted, items: new Uint32Array(length) };
  for (let item = 0; item < length; item++) from.items[item] = item;
  let to = { hashes: new Uint32Array(length), items: new Uint32Array(length) };
  for (let shift = 0; shift < 32; shift += RADIX_BITS) {
    const position = new Uint32Array((1 << RADIX_BITS) + 1);
    const mask = (1 << RADIX_BITS) - 1;
    for (let index = 0; index < length; index++) position[((from.hashes[index] >>> shift) & mask) + 1]++;
    for (let digit = 0; digit < mask; digit++) position[digit + 1] += position[digit];
    for (let index = 0; index < length; index++) {
      const hash = from.hashes[index];
      const target = position[(hash >>> shift) & mask]++;
      to.hashes[target] = hash;
      to.items[target] = from.items[index];
    }
    [from, to] = [to, from];
  }
  return from;
}

/** Where the first hash that is not below `hash` lies: guessed between the neighbours' values, then halved. */
function firstOfHash(hashes: Uint32Array, hash: number): number {
  let low = 0;
  let high = hashes.length;
  // What lies before `low` is below `hash`, what lies from `high` on is not: so the divisor is never 0.
  let below = -1;
  let above = 2 ** 32;
  for (let guesses = 0; low < high; guesses++) {
    const fraction = guesses < MAX_GUESSES ? (hash - below) / (above - below) : 0.5;
    const middle = Math.min(high - 1, low + Math.floor((high - low) * fraction));
    const value = hashes[middle];
    if (value < hash) {
      low = middle + 1;
      below = value;
    } else {
      high = middle;
      above = value;
    }
  }
  return low;
}
