import { EspalierError } from '../../errors.js';

const RETRY_AFTER_SECONDS = 5;

/** Lets so many in at a time, and refuses the others. */
export class Gate {
  readonly #limit: number;
  readonly #what: string;
  readonly #onRefusal: () => void;
  #inside = 0;

  /** @param what of whom there may be so many, e.g. `uploads` */
  constructor(limit: number, what: string, onRefusal: () => void) {
    this.#limit = limit;
    this.#what = what;
    this.#onRefusal = onRefusal;
  }

  /** @returns to be called once, on leaving. @throws EspalierError ESP_OVERLOADED */
  enter(): () => void {
    if (this.#inside >= this.#limit) {
      this.#onRefusal();
      throw new EspalierError(
        'ESP_OVERLOADED',
        `the request is refused: ${this.#inside} ${this.#what} already`,
        {
          retryAfterSeconds: RETRY_AFTER_SECONDS,
        },
      );
    }
    this.#inside++;
    let isInside = true;
    return () => {
      if (isInside) this.#inside--;
      isInside = false;
    };
  }

  async within<Result>(work: () => Promise<Result>): Promise<Result> {
    const leave = this.enter();
    try {
      return await work();
    } finally {
      leave();
    }
  }
}
