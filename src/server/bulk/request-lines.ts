const NEWLINE = 10;

/** One line of a body of requests. */
export interface RequestLine {
  /** 1-based. */
  number: number;
  /** null where the line is longer than allowed; nothing of it is kept. */
  bytes: Buffer | null;
}

/**
 * The lines of a stream of bytes, with memory bounded by the longest allowed one. A longer one is passed over, so that
 * those behind it still count.
 */
export async function* requestLines(
  chunks: AsyncIterable<Buffer>,
  maxLineBytes: number,
  firstNumber = 1,
): AsyncGenerator<RequestLine> {
  let rest: Buffer = Buffer.alloc(0);
  let isTooLong = false;
  let number = firstNumber;
  const line = (bytes: Buffer): RequestLine => {
    const isKept = !isTooLong && bytes.length <= maxLineBytes;
    isTooLong = false;
    return { number: number++, bytes: isKept ? bytes : null };
  };
  for await (const chunk of chunks) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    let begin = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, begin)) {
      yield line(bytes.subarray(begin, end));
      begin = end + 1;
    }
    rest = bytes.subarray(begin);
    if (rest.length <= maxLineBytes) continue;
    isTooLong = true;
    rest = Buffer.alloc(0);
  }
  if (rest.length > 0 || isTooLong) yield line(rest);
}
