import { createReadStream } from 'node:fs';
import { EspalierError } from '../errors.js';

const MAX_LINE_BYTES = 1 << 20;
const NEWLINE = 10;

export interface Line {
  /** 1-based. */
  number: number;
  bytes: Buffer;
  /** Offset of the byte after the line. */
  endOffset: number;
}

/**
 * The lines of a file, one at a time, with memory bounded by the longest allowed line.
 * @throws EspalierError ESP_UPLOAD_INVALID on a line of more than 1 MiB.
 */
export async function* readLines(path: string): AsyncGenerator<Line> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  let endOffset = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 18 })) {
    let bytes: Buffer = rest.length > 0 ? Buffer.concat([rest, chunk as Buffer]) : (chunk as Buffer);
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE)) {
      endOffset += end + 1;
      yield { number: ++number, bytes: bytes.subarray(0, end), endOffset };
      bytes = bytes.subarray(end + 1);
    }
    if (bytes.length > MAX_LINE_BYTES) throw lineTooLong(number + 1);
    rest = bytes;
  }
  if (rest.length > 0) yield { number: number + 1, bytes: rest, endOffset: endOffset + rest.length };
}

function lineTooLong(line: number): EspalierError {
  return new EspalierError('ESP_UPLOAD_INVALID', `line ${line} has more than ${MAX_LINE_BYTES} bytes`, {
    details: [{ line, expected: `at most ${MAX_LINE_BYTES} bytes`, found: 'more' }],
  });
}
