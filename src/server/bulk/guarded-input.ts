import { EspalierError } from '../../errors.js';
import { shuttingDown } from '../jobs/embedded-queue.js';

export interface InputGuards {
  /** Aborted when the server is about to end. */
  draining: AbortSignal;
  idleTimeoutMs: number;
  /** Whether answers are still being made: then it is not the client who keeps the server waiting. */
  isBusy: () => boolean;
}

/** Input that ends early, with an error in `ended`, when the server shuts down or nothing comes for too long. */
export class GuardedInput<Input> implements AsyncIterator<Input> {
  /** Why there is no more, where it is not the input's end. */
  ended: EspalierError | undefined;
  readonly #inputs: AsyncIterator<Input>;
  readonly #guards: InputGuards;

  constructor(inputs: AsyncIterator<Input>, guards: InputGuards) {
    this.#inputs = inputs;
    this.#guards = guards;
  }

  async next(): Promise<IteratorResult<Input>> {
    if (this.#guards.draining.aborted) this.ended = shuttingDown();
    if (this.ended !== undefined) return { done: true, value: undefined };
    let stop: () => void = () => {};
    const cut = new Promise<EspalierError>((resolve) => {
      stop = this.#watch(resolve);
    });
    try {
      const come = await Promise.race([this.#inputs.next(), cut]);
      if (!(come instanceof EspalierError)) return come;
      this.ended = come;
    } catch (thrown) {
      this.ended = EspalierError.from(thrown);
    } finally {
      stop();
    }
    return { done: true, value: undefined };
  }

  /** @returns ends the watch. */
  #watch(cut: (error: EspalierError) => void): () => void {
    const { draining, idleTimeoutMs, isBusy } = this.#guards;
    let timer: NodeJS.Timeout;
    const look = () => {
      if (!isBusy()) cut(new EspalierError('ESP_UPLOAD_STALLED', `nothing came for ${idleTimeoutMs} ms`));
      else timer = setTimeout(look, idleTimeoutMs);
    };
    timer = setTimeout(look, idleTimeoutMs);
    const onDrain = () => cut(shuttingDown());
    draining.addEventListener('abort', onDrain, { once: true });
    return () => {
      clearTimeout(timer);
      draining.removeEventListener('abort', onDrain);
    };
  }
}
