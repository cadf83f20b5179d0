import { isDeepStrictEqual } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { chunksOf } from './items.js';

/** A line of an upload. */
export interface UploadedItem {
  id: string;
  sid: number[];
  price: number;
  category: string;
  [attribute: string]: unknown;
}

/** An upload, and what is known of it without a server. */
export interface DrawnItems {
  count: number;
  packed: Uint8Array<ArrayBuffer>;
  /** Some of them, as they were sent. */
  sample: UploadedItem[];
  /** [count] */
  prices: Float64Array;
  categories: string[];
}

const SAMPLE = 20;

export function drawItems(count: number, seed: number): DrawnItems {
  const chunks: Buffer[] = [];
  const prices = new Float64Array(count);
  const categories = new Array<string>(count);
  const sample: UploadedItem[] = [];
  const every = Math.ceil(count / SAMPLE);
  let index = 0;
  for (const lines of chunksOf(count, seed)) {
    chunks.push(Buffer.from(lines));
    for (const line of lines.split('\n')) {
      if (line === '') continue;
      const item = JSON.parse(line) as UploadedItem;
      if (index % every === 0) sample.push(item);
      prices[index] = item.price;
      categories[index] = item.category;
      index++;
    }
  }
  return { count, packed: new Uint8Array(gzipSync(Buffer.concat(chunks))), sample, prices, categories };
}

/** What is wrong with an item as a server gives it back. */
export function faultOfItem(
  sent: UploadedItem,
  found: { sid: readonly number[]; attributes: Record<string, unknown> },
): string | undefined {
  const { id, sid, ...attributes } = sent;
  if (isDeepStrictEqual({ sid, attributes }, { sid: [...found.sid], attributes: { ...found.attributes } })) {
    return undefined;
  }
  return `item ${id} came back as ${JSON.stringify(found)}, sent was ${JSON.stringify(sent)}`;
}

/** A rule over two attributes, and how many items it allows. */
export function priceRule(
  { prices, categories }: Pick<DrawnItems, 'prices' | 'categories'>,
  limit: number,
  allowed: readonly string[],
): { rule: string; items: number } {
  let items = 0;
  for (let item = 0; item < prices.length; item++) {
    if (prices[item] < limit && allowed.includes(categories[item])) items++;
  }
  return { rule: `price < ${limit.toFixed(2)} && category in ${JSON.stringify(allowed)}`, items };
}

/** What an upload costs whoever reads it: unpacked, every line parsed, nothing kept. @returns how many lines */
export function unpackAndParse(packed: Uint8Array): number {
  const bytes = gunzipSync(packed);
  let count = 0;
  for (let start = 0; start < bytes.length; count++) {
    const end = bytes.indexOf(10, start);
    JSON.parse(bytes.toString('utf8', start, end));
    start = end + 1;
  }
  return count;
}
