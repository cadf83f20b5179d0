import { EspalierError } from '../../errors.js';

/** Unpacked bytes that an upload's files may still take. A few bytes of gzip may unpack to any number. */
export class ByteBudget {
  readonly #maxBytes: number;
  #taken = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @throws EspalierError ESP_BODY_TOO_LARGE */
  take(bytes: number): void {
    this.#taken += bytes;
    if (this.#taken <= this.#maxBytes) return;
    throw new EspalierError('ESP_BODY_TOO_LARGE', `the upload unpacks to more than ${this.#maxBytes} bytes`);
  }
}
