import { type ChildProcess, fork } from 'node:child_process';
import type { EspalierError } from '../errors.js';
import { CallClient, type CallHandlers, type CallingEnd, sendEvent, serveCalls } from './rpc.js';

/** Serves calls in this child process, one after the other, until the parent asks it to close or is gone. */
export function serveProcess(
  handlers: CallHandlers,
  onClose: () => Promise<void>,
  urgent: readonly string[] = [],
): void {
  // A signal to the whole process group must not end a batch that the parent still waits for.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});
  process.once('disconnect', () => process.exit());
  serveCalls(
    {
      post,
      onMessage: (listener) => process.on('message', listener),
      close: () => process.disconnect(),
    },
    handlers,
    onClose,
    urgent,
  );
}

/** Sends an event to the `onEvent` of the process that started this one. */
export function tellParentProcess(event: unknown): void {
  sendEvent({ post }, event);
}

/** A parent that is gone hears nothing; `disconnect` follows. */
function post(message: unknown): void {
  process.send!(message, undefined, undefined, () => {});
}

/** The parent's end of a child process that runs `serveProcess`. */
export class ProcessClient<Handlers extends CallHandlers> extends CallClient<Handlers> {
  readonly #child: ChildProcess;

  /** @param data plain JSON, the child's first argument. */
  constructor(
    script: URL,
    data: unknown,
    onFailure: (error: EspalierError) => void,
    onEvent?: (event: unknown) => void,
  ) {
    const child = fork(script, [JSON.stringify(data)], { serialization: 'advanced' });
    super(callingEnd(child), onFailure, onEvent);
    this.#child = child;
  }

  /** Ends the child at once, whatever it does. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

function callingEnd(child: ChildProcess): CallingEnd {
  return {
    // Calls to a child that is gone are settled by its exit.
    post: (message) => void child.send(message as object, () => {}),
    onMessage: (listener) => child.on('message', listener),
    onExit(listener) {
      child.once('exit', (exitCode, signal) => {
        const how = signal === null ? `with code ${exitCode}` : `by ${signal}`;
        listener(`a child process ended ${how}`, undefined);
      });
      child.once('error', (cause) => {
        if (child.pid === undefined) listener('a child process could not be started', cause);
      });
    },
  };
}
