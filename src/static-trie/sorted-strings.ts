import type { StringTable, StringTableBuilder } from './string-table.js';

/** Dictionaries: tables that ascend by UTF-8 bytes, without duplicates. */

/** Fewer strings than that are compared rather than spread over 257 buckets. */
const FEW_STRINGS = 48;

/** The order that makes strings without duplicates a dictionary: spread by one byte after another. */
export function dictionaryOrder(strings: StringTableBuilder): Uint32Array {
  const order = new Uint32Array(strings.length);
  for (let index = 0; index < order.length; index++) order[index] = index;
  const spread = new Uint32Array(order.length);
  // Runs of strings that agree in their first `depth` bytes.
  const runs = [{ start: 0, end: order.length, depth: 0 }];
  for (let run = runs.pop(); run !== undefined; run = runs.pop()) {
    const { start, end, depth } = run;
    if (end - start <= FEW_STRINGS) {
      order.subarray(start, end).sort((a, b) => strings.compare(a, b));
      continue;
    }
    // Where each bucket begins; the first is of strings that have ended, and there is at most one.
    const position = new Uint32Array(258);
    for (let at = start; at < end; at++) position[strings.byteAt(order[at], depth) + 2]++;
    position[0] = start;
    for (let bucket = 1; bucket < position.length; bucket++) position[bucket] += position[bucket - 1];
    for (let at = start; at < end; at++) {
      spread[position[strings.byteAt(order[at], depth) + 1]++] = order[at];
    }
    order.set(spread.subarray(start, end), start);
    // By now each position is where its bucket ends.
    for (let bucket = 1; bucket <= 256; bucket++) {
      const count = position[bucket] - position[bucket - 1];
      if (count > 1) runs.push({ start: position[bucket - 1], end: position[bucket], depth: depth + 1 });
    }
  }
  return order;
}

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
