import { setMaxListeners } from 'node:events';
import type { Writable } from 'node:stream';

/**
 * Aborted when the client goes away before it has its answer.
 * @param response of either version of HTTP
 */
export function abortedWhenGone(response: Writable): AbortSignal {
  const controller = new AbortController();
  // Each request of a batch or a stream listens for itself.
  setMaxListeners(0, controller.signal);
  response.once('close', () => {
    if (!response.writableEnded) controller.abort();
  });
  return controller.signal;
}
