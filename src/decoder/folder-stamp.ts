import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A folder with the names, sizes and times of the files in it, links followed; the folder alone when it is gone.
 * Equal as long as nobody writes there.
 */
export function stampFolder(folder: string): string {
  try {
    const stamps = readdirSync(folder).flatMap((name) => {
      const file = statSync(join(folder, name));
      return file.isFile() ? [[name, file.size, file.mtimeMs, file.ino]] : [];
    });
    return JSON.stringify([folder, ...stamps.sort()]);
  } catch {
    return JSON.stringify([folder]);
  }
}
