import { Readable } from 'node:stream';
import { constants, createGzip, gzipSync } from 'node:zlib';

/** The model of `bench/changes/make_model.py`. */
export const model = 'sids';
export const codebookSizes = [256, 256, 256, 256];

/** Items of five attributes with random SIDs, the same for the same seed. */
export const schema = {
  price: { type: 'double' },
  category: { type: 'string' },
  stock: { type: 'int64' },
  since: { type: 'timestamp' },
  tags: { type: 'string[]' },
} as const;

const LINES_AT_A_TIME = 10_000;
const DAY_MS = 86_400_000;

/** Lines of NDJSON, many at a time. */
export function* chunksOf(count: number, seed = 1): Generator<string> {
  let state = seed;
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  let sid = '';
  for (let from = 0; from < count; from += LINES_AT_A_TIME) {
    let lines = '';
    for (let index = from; index < Math.min(count, from + LINES_AT_A_TIME); index++) {
      // Of twenty items one shares its SID with the one before.
      if (index % 20 !== 1) sid = `[${random(256)},${random(256)},${random(256)},${random(256)}]`;
      const since = new Date(1.3e12 + random(3_000) * DAY_MS).toISOString();
      lines += `{"id":"item-${index}","sid":${sid},"price":${random(10_000) / 100},"category":"c${random(200)}","stock":${random(500)},"since":"${since}","tags":["t${random(40)}","t${40 + random(40)}"]}\n`;
    }
    yield lines;
  }
}

/** As NDJSON, packed with gzip. */
export function packedItems(count: number, seed = 1): Uint8Array<ArrayBuffer> {
  return gzipSync([...chunksOf(count, seed)].join(''));
}

/** The same as a stream, for as many as do not fit in one piece. */
export function itemStream(count: number): ReadableStream<Uint8Array> {
  const gzip = createGzip({ level: constants.Z_BEST_SPEED });
  return Readable.toWeb(Readable.from(chunksOf(count)).pipe(gzip)) as ReadableStream<Uint8Array>;
}
