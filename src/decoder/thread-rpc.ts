import type { MessagePort } from 'node:worker_threads';
import { Worker } from 'node:worker_threads';
import { EspalierError, type PlainError } from '../errors.js';

/** What a thread offers: named functions over values that survive structured cloning. */
// biome-ignore lint/suspicious/noExplicitAny: handlers have parameters of many types; callers see the real ones.
export type ThreadHandlers = Record<string, (...args: any[]) => unknown>;

type Call = { id: number; method: string; args: unknown[] };
type Reply = { id: number; result?: unknown; error?: PlainError };
/** Something a thread says of its own accord, such as progress. */
type Event = { event: unknown };

const CLOSE = 'close';

/** Serves calls on this thread, one after the other, until the parent asks it to close. */
export function serveThread(port: MessagePort, handlers: ThreadHandlers, onClose: () => Promise<void>): void {
  let turn = Promise.resolve();
  port.on('message', (call: Call) => {
    turn = turn.then(async () => {
      if (call.method === CLOSE) {
        await onClose();
        port.postMessage({ id: call.id } satisfies Reply);
        port.close();
        return;
      }
      try {
        const result = await handlers[call.method](...call.args);
        port.postMessage({ id: call.id, result } satisfies Reply);
      } catch (thrown) {
        port.postMessage({ id: call.id, error: EspalierError.from(thrown).toPlain() } satisfies Reply);
      }
    });
  });
}

/** Sends an event to the parent's `onEvent`. */
export function tellParent(port: MessagePort, event: unknown): void {
  port.postMessage({ event } satisfies Event);
}

/** The parent's end of a thread that runs `serveThread`. */
export class ThreadClient<Handlers extends ThreadHandlers> {
  readonly #worker: Worker;
  readonly #calls = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: EspalierError) => void }
  >();
  readonly #exited: Promise<void>;
  #nextId = 0;
  #failure: EspalierError | undefined;

  /**
   * @param onFailure called once if the thread dies without having been asked to.
   * @param onEvent called with what the thread says by `tellParent`.
   */
  constructor(
    script: URL,
    workerData: unknown,
    onFailure: (error: EspalierError) => void,
    onEvent: (event: unknown) => void = () => {},
  ) {
    this.#worker = new Worker(script, { workerData });
    this.#worker.on('message', (message: Reply | Event) => {
      if ('event' in message) onEvent(message.event);
      else this.#settle(message);
    });
    let cause: unknown;
    this.#worker.on('error', (error) => {
      cause = error;
    });
    this.#exited = new Promise((resolve) => {
      this.#worker.once('exit', (exitCode) => {
        const closing = this.#failure !== undefined;
        this.#failure ??= new EspalierError('ESP_INTERNAL', `a worker thread ended with code ${exitCode}`, {
          cause,
        });
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

  /**
   * Asks the thread to end after the calls it already has. Never `terminate()`: that aborts the whole process
   * while the thread is inside a model run.
   */
  async close(): Promise<void> {
    if (this.#failure === undefined) {
      const closed = this.#post(CLOSE, []);
      this.#failure = new EspalierError('ESP_SHUTTING_DOWN', 'the server is shutting down');
      await closed;
    }
    await this.#exited;
  }

  #post<Result>(method: string, args: unknown[]): Promise<Result> {
    const id = this.#nextId++;
    return new Promise<Result>((resolve, reject) => {
      this.#calls.set(id, { resolve, reject });
      this.#worker.postMessage({ id, method, args } satisfies Call);
    });
  }

  #settle({ id, result, error }: Reply): void {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error !== undefined) call?.reject(EspalierError.fromPlain(error));
    else call?.resolve(result as never);
  }
}
