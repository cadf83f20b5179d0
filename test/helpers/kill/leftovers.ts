import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/** Files of a data directory that belong to nothing, when no job is unfinished. */
export function leftovers(dataDir: string): string[] {
  return readdirSync(dataDir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => !belongs(dataDir, path))
    .map((path) => path.slice(dataDir.length + 1));
}

function belongs(dataDir: string, path: string): boolean {
  const [folder] = path.slice(dataDir.length + 1).split('/');
  const name = basename(path);
  if (folder === 'uploads' || folder === 'trash' || name.endsWith('.tmp')) return false;
  // A file without its record, or a record without its file, is a half of something.
  if (name === 'catalog.bin') return existsSync(join(dirname(path), 'version.json'));
  if (name === 'version.json') return existsSync(join(dirname(path), 'catalog.bin'));
  if (!name.endsWith('.list')) return true;
  const [, set, version] = /^(.*)\.(\d+)\.list$/.exec(name)!;
  const record = join(dirname(path), `${set}.json`);
  if (!existsSync(record)) return false;
  const { versions } = JSON.parse(readFileSync(record, 'utf8'));
  return versions.some((one: { version: number }) => one.version === Number(version));
}
