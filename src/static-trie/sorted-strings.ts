import type { StringTable } from './string-table.js';

/** Searches in a dictionary: a table that ascends by UTF-8 bytes, without duplicates. */

/** The number of a text, or -1. */
export function findString(dictionary: StringTable, text: string): number {
  // Half a surrogate pair would be encoded as U+FFFD, and be found as that.
  if (!text.isWellFormed()) return -1;
  const utf8 = Buffer.from(text);
  const index = firstWhere(dictionary.length, (at) => dictionary.compare(at, utf8) >= 0);
  return index < dictionary.length && dictionary.equals(index, utf8) ? index : -1;
}

/** The strings that begin with a well-formed text are [start, end). */
export function findPrefix(dictionary: StringTable, prefix: string): { start: number; end: number } {
  const utf8 = Buffer.from(prefix);
  const { length, bytes, offsets } = dictionary;
  const start = firstWhere(length, (at) => dictionary.compare(at, utf8) >= 0);
  const end = firstWhere(length, (at) => {
    const cut = Math.min(offsets[at + 1], offsets[at] + utf8.length);
    return Buffer.compare(bytes.subarray(offsets[at], cut), utf8) > 0;
  });
  return { start, end };
}

/** The first number in [0, count) that passes a test which all after it pass, too; `count` where none does. */
export function firstWhere(count: number, test: (index: number) => boolean): number {
  let low = 0;
  let high = count;
  while (low < high) {
    // Not >>> 1: the sum may exceed 32 bits.
    const middle = Math.floor((low + high) / 2);
    if (test(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
