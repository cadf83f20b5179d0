import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { writeFailure } from '../../static-trie/index.js';

/**
 * Makes files that were received, and their names, outlive a power cut. Off this thread: an upload may be of gigabytes.
 * @throws EspalierError ESP_WRITE_FAILED
 */
export async function syncUploads(paths: readonly string[]): Promise<void> {
  for (const path of new Set([...paths, ...paths.map((file) => dirname(file))])) {
    try {
      const file = await open(path, 'r');
      await file.sync().finally(() => file.close());
    } catch (thrown) {
      throw writeFailure(path, thrown);
    }
  }
}
