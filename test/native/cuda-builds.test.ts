import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { named } from '../helpers/named.js';
import { missingTools, root } from './tools.js';

/* What users run to build for a GPU, whole and for every architecture: some warnings show in one of them only. */

const isMissing = (command: string) => spawnSync('which', [command]).status !== 0;
const noNvcc = isMissing('nvcc') ? 'missing: nvcc (the CUDA toolkit)' : undefined;
const skipped =
  process.env.LONG_TESTS === undefined ? 'npm run test:long' : (noNvcc ?? missingTools('cmake', 'g++'));

interface Built {
  code: number | null;
  printed: string;
}

function ran(command: string, ...args: string[]): Promise<Built> {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (printed += chunk));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, printed })));
}

describe.skipIf(skipped)(named('the builds for a GPU', skipped), () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'espalier-cuda-builds-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('npm run build:cuda has no warnings', async () => {
    // It builds where it lies, and what it makes there would be found by other tests.
    const copy = join(folder, 'copy');
    for (const part of ['native', 'scripts/build-cuda.mjs'])
      cpSync(join(root, part), join(copy, part), { recursive: true });
    const { code, printed } = await ran(process.execPath, join(copy, 'scripts/build-cuda.mjs'));
    expect([code, printed]).toEqual([
      0,
      expect.stringMatching(/^espalier: built \S+libespalier_cuda\.so\n$/),
    ]);
    expect(existsSync(join(copy, 'build/cuda/libespalier_cuda.so'))).toBe(true);
  });

  it('that of check.sh has no warnings', async () => {
    const built = join(folder, 'check');
    mkdirSync(built);
    const { code, printed } = await ran('bash', 'native/cuda/check/build.sh', built);
    expect(code, printed).toBe(0);
    const objects = join(built, 'objects');
    const logs = readdirSync(objects).filter((name) => name.endsWith('.log'));
    expect(logs.length).toBeGreaterThan(20);
    const said = [printed, ...logs.map((name) => readFileSync(join(objects, name), 'utf8'))].join('');
    expect(said).not.toMatch(/\bwarning\b/i);
    for (const name of ['libespalier_cuda.so', 'cuda_check', 'cuda_time'])
      expect(existsSync(join(built, name))).toBe(true);
  });
});
