import type { ServerResponse } from 'node:http';

/**
 * So many times the pause between two parts of an upload. The system's buffers hold megabytes, and tell nothing while a
 * slow reader empties a part of them: it must not pass for one who does not read.
 */
const PATIENCE = 10;

/**
 * Cuts the connection of a reader who takes nothing of an answer for long while there is something for them. Without it
 * the answer would wait for ever.
 */
export function cutStuckReader(response: ServerResponse, idleTimeoutMs: number): void {
  let lastBytes = 0;
  let sinceMs = performance.now();
  const looking = setInterval(() => {
    const { socket, writableLength } = response;
    if (socket === null) return;
    const takenBytes = socket.bytesWritten - socket.writableLength;
    const nowMs = performance.now();
    if (writableLength === 0 || takenBytes !== lastBytes) [lastBytes, sinceMs] = [takenBytes, nowMs];
    else if (nowMs - sinceMs >= PATIENCE * idleTimeoutMs) socket.destroy();
  }, idleTimeoutMs);
  response.once('close', () => clearInterval(looking));
}
