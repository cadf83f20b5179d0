// A file deleted from src/ must not live on in dist/; what is still there lets tsc write only what has changed.
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');
const MADE_OF_TS = /(\.d\.ts|\.js|\.js\.map)$/;

if (existsSync(dist)) {
  for (const path of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    if (!MADE_OF_TS.test(path)) continue;
    if (!existsSync(join(root, 'src', path.replace(MADE_OF_TS, '.ts')))) rmSync(join(dist, path));
  }
}
