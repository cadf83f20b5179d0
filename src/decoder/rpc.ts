import { EspalierError, type PlainError } from '../errors.js';

/** What the other side offers: named functions over values that survive structured cloning. */
// biome-ignore lint/suspicious/noExplicitAny: handlers have parameters of many types; callers see the real ones.
export type CallHandlers = Record<string, (...args: any[]) => unknown>;

type Call = { id: number; method: string; args: unknown[] };
type Reply = { id: number; result?: unknown; error?: PlainError };
/** Something that the serving side says of its own accord, such as progress. */
type Event = { event: unknown };

const CLOSE = 'close';

/** The serving end of a connection; messages arrive in the order in which they were sent. */
export interface ServingEnd {
  post(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
  /** Lets the thread or process end. */
  close(): void;
}

/** The calling end: a thread or a process that serves. */
export interface CallingEnd {
  post(message: unknown): void;
  onMessage(listener: (message: unknown) => void): void;
  /** @param listener gets what the other side ended of, once. */
  onExit(listener: (reason: string, cause: unknown) => void): void;
}

/**
 * Serves calls one after the other, until asked to close.
 * @param urgent methods that don't wait for the calls before them.
 */
export function serveCalls(
  end: ServingEnd,
  handlers: CallHandlers,
  onClose: () => Promise<void>,
  urgent: readonly string[] = [],
): void {
  const answer = async ({ id, method, args }: Call) => {
    try {
      const result = await handlers[method](...args);
      end.post({ id, result } satisfies Reply);
    } catch (thrown) {
      end.post({ id, error: EspalierError.from(thrown).toPlain() } satisfies Reply);
    }
  };
  const close = async ({ id }: Call) => {
    await onClose();
    end.post({ id } satisfies Reply);
    end.close();
  };
  let turn = Promise.resolve();
  end.onMessage((message) => {
    const call = message as Call;
    if (urgent.includes(call.method)) void answer(call);
    else turn = turn.then(() => (call.method === CLOSE ? close(call) : answer(call)));
  });
}

/** Sends an event to the caller's `onEvent`. */
export function sendEvent(end: Pick<ServingEnd, 'post'>, event: unknown): void {
  end.post({ event } satisfies Event);
}

/** Calls what runs `serveCalls` at the other end. */
export class CallClient<Handlers extends CallHandlers> {
  readonly #end: CallingEnd;
  readonly #calls = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: EspalierError) => void }
  >();
  readonly #exited: Promise<void>;
  #nextId = 0;
  #failure: EspalierError | undefined;

  /**
   * @param onFailure called once if the other side ends without having been asked to.
   * @param onEvent called with what the other side says by `sendEvent`.
   */
  constructor(
    end: CallingEnd,
    onFailure: (error: EspalierError) => void,
    onEvent: (event: unknown) => void = () => {},
  ) {
    this.#end = end;
    end.onMessage((message) => {
      const heard = message as Reply | Event;
      if ('event' in heard) onEvent(heard.event);
      else this.#settle(heard);
    });
    this.#exited = new Promise((resolve) => {
      end.onExit((reason, cause) => {
        const closing = this.#failure !== undefined;
        this.#failure ??= new EspalierError('ESP_INTERNAL', reason, { cause });
        for (const { reject } of this.#calls.values()) reject(this.#failure);
        this.#calls.clear();
        if (!closing) onFailure(this.#failure);
        resolve();
      });
    });
  }

  call<Method extends keyof Handlers & string>(
    method: Method,
    ...args: Parameters<Handlers[Method]>
  ): Promise<Awaited<ReturnType<Handlers[Method]>>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return this.#post(method, args);
  }

  /** Asks the other side to end after the calls it already has, and waits until it has. */
  async close(): Promise<void> {
    if (this.#failure === undefined) {
      const closed = this.#post(CLOSE, []);
      this.#failure = new EspalierError('ESP_SHUTTING_DOWN', 'the server is shutting down');
      // It may also die on the way; then it has ended as well.
      await closed.catch(() => {});
    }
    await this.#exited;
  }

  #post<Result>(method: string, args: unknown[]): Promise<Result> {
    const id = this.#nextId++;
    return new Promise<Result>((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#end.post({ id, method, args } satisfies Call);
    });
  }

  #settle({ id, result, error }: Reply): void {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error !== undefined) call?.reject(EspalierError.fromPlain(error));
    else call?.resolve(result as never);
  }
}
