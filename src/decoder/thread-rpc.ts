import { type MessagePort, Worker } from 'node:worker_threads';
import type { EspalierError } from '../errors.js';
import { CallClient, type CallHandlers, type CallingEnd, type ServingEnd, serveCalls } from './rpc.js';

/** Serves calls on this thread, one after the other, until the parent asks it to close. */
export function serveThread(
  port: MessagePort,
  handlers: CallHandlers,
  onClose: () => Promise<void>,
  urgent: readonly string[] = [],
): void {
  serveCalls(servingEnd(port), handlers, onClose, urgent);
}

/**
 * The parent's end of a thread that runs `serveThread`. There is no way to end the thread but to ask it:
 * `terminate()` aborts the whole process while the thread is inside a model run.
 */
export class ThreadClient<Handlers extends CallHandlers> extends CallClient<Handlers> {
  constructor(
    script: URL,
    workerData: unknown,
    onFailure: (error: EspalierError) => void,
    onEvent?: (event: unknown) => void,
  ) {
    super(callingEnd(new Worker(script, { workerData })), onFailure, onEvent);
  }
}

function servingEnd(port: MessagePort): ServingEnd {
  return {
    post: (message) => port.postMessage(message),
    onMessage: (listener) => port.on('message', listener),
    close: () => port.close(),
  };
}

function callingEnd(worker: Worker): CallingEnd {
  return {
    post: (message) => worker.postMessage(message),
    onMessage: (listener) => worker.on('message', listener),
    onExit(listener) {
      let cause: unknown;
      worker.on('error', (error) => {
        cause = error;
      });
      worker.once('exit', (exitCode) => listener(`a worker thread ended with code ${exitCode}`, cause));
    },
  };
}
