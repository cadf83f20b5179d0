import { EspalierError } from '../../errors.js';

const MAX_LINE_BYTES = 1 << 20;
const NEWLINE = 10;

export interface Line {
  /** 1-based. */
  number: number;
  bytes: Buffer;
}

/**
 * The lines of a stream of bytes, those of a chunk at a time, with memory bounded by the longest allowed line.
 * @throws EspalierError ESP_UPLOAD_INVALID on a line of more than 1 MiB.
 */
export async function* readLines(chunks: AsyncIterable<Buffer>): AsyncGenerator<Line[]> {
  let rest: Buffer = Buffer.alloc(0);
  let number = 0;
  for await (const chunk of chunks) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    const lines: Line[] = [];
    let begin = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, begin)) {
      lines.push({ number: ++number, bytes: bytes.subarray(begin, end) });
      begin = end + 1;
    }
    rest = bytes.subarray(begin);
    yield lines;
    if (rest.length > MAX_LINE_BYTES) throw lineTooLong(number + 1);
  }
  if (rest.length > 0) yield [{ number: number + 1, bytes: rest }];
}

function lineTooLong(line: number): EspalierError {
  return new EspalierError('ESP_UPLOAD_INVALID', `line ${line} has more than ${MAX_LINE_BYTES} bytes`, {
    details: [{ line, expected: `at most ${MAX_LINE_BYTES} bytes`, found: 'more' }],
  });
}
