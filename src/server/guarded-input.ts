/** How often an input that is waited for is looked at. */
const LOOK_INTERVAL_MS = 250;

export interface InputGuards {
  /**
   * Asked every quarter of a second, whether inputs come or are waited for. What it throws ends the input.
   * @param idleMs for so long nothing has come, and nothing that came was being worked on
   */
  look: (idleMs: number) => void;
  /** Whether what came is still being worked on: then it is not the client who keeps the server waiting. */
  isBusy?: () => boolean;
}

/**
 * Input that ends early, with the reason in `ended`, when it fails or its guards say so: when the server shuts down, a
 * key is revoked, or nothing comes for too long. What came before can still be answered.
 */
export class GuardedInput<Input> implements AsyncIterator<Input> {
  /** Why there is no more, where it is not the input's end. */
  ended: unknown;
  readonly #inputs: AsyncIterator<Input>;
  readonly #guards: InputGuards;
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(inputs: AsyncIterator<Input>, guards: InputGuards) {
    this.#inputs = inputs;
    this.#guards = guards;
  }

  async next(): Promise<IteratorResult<Input>> {
    const end = { done: true, value: undefined } as const;
    if (this.ended !== undefined) return end;
    let timer: NodeJS.Timeout | undefined;
    try {
      // Inputs that come one after the other are never waited for.
      if (performance.now() - this.#lookedMs >= LOOK_INTERVAL_MS) this.#look(0);
      const cut = new Promise<never>((_, reject) => {
        timer = this.#watch(reject);
      });
      return await Promise.race([this.#inputs.next(), cut]);
    } catch (thrown) {
      this.ended = thrown;
      return end;
    } finally {
      clearInterval(timer);
    }
  }

  #watch(cut: (thrown: unknown) => void): NodeJS.Timeout {
    const { isBusy = () => false } = this.#guards;
    let sinceMs = performance.now();
    return setInterval(() => {
      if (isBusy()) sinceMs = performance.now();
      try {
        this.#look(performance.now() - sinceMs);
      } catch (thrown) {
        cut(thrown);
      }
    }, LOOK_INTERVAL_MS);
  }

  #look(idleMs: number): void {
    this.#lookedMs = performance.now();
    this.#guards.look(idleMs);
  }
}
