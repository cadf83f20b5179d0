import { MessageChannel } from 'node:worker_threads';

/** A port that is closed takes what is sent, and nobody gets it. */
const { port1: nowhere } = new MessageChannel();
nowhere.close();

/**
 * Frees an array's memory at once. The garbage collector would come to it after 64 MB of the like, and then pass over
 * the whole heap. The array is empty from now on, as is every view of its buffer.
 */
export function freeMemory({ buffer }: ArrayBufferView): void {
  try {
    nowhere.postMessage(null, [buffer as ArrayBuffer]);
  } catch {
    // Memory of which others are in charge, such as a mapped file, is theirs to free.
  }
}
