/**
 * Counts the delimiters of a form in its bytes. The parser leaves out parts whose headers it doesn't like, without a
 * word; with the number of those that there are, they can be missed.
 */
export class BoundaryCounter {
  readonly #delimiter: Buffer;
  /** What may be the beginning of one that ends in the next chunk. The first line of a form has no line before it. */
  #rest: Buffer = Buffer.from('\r\n');
  #count = 0;

  /** @param contentType that of the form */
  constructor(contentType: string) {
    const [, quoted, plain] = /;\s*boundary=(?:"([^"]*)"|([^\s;]*))/i.exec(contentType) ?? [];
    this.#delimiter = Buffer.from(`\r\n--${quoted ?? plain ?? ''}`, 'latin1');
  }

  /** The parts of a form that has ended: its last delimiter closes it. */
  get partCount(): number {
    return this.#count - 1;
  }

  /** A listener for the chunks as they come. */
  readonly take = (chunk: Buffer): void => {
    const delimiter = this.#delimiter;
    const bytes = Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (let next = bytes.indexOf(delimiter); next >= 0; next = bytes.indexOf(delimiter, at)) {
      this.#count++;
      at = next + delimiter.length;
    }
    this.#rest = bytes.subarray(Math.max(at, bytes.length - delimiter.length + 1));
  };
}
