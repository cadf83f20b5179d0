import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadAddon } from '../../src/kernels/native/addon.js';
import { root } from '../native/tools.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-cuda-'));
const emulated = join(root, 'build/cuda/libespalier_cuda_emulated.so');
let copies = 0;

/** A real device's library, where there is one: what runs on the emulated one by default runs on it. */
export const realCudaLibrary: string | undefined = process.env.ESPALIER_CUDA_LIBRARY;

/** Why tests on the emulated device are skipped, or undefined; builds its library, where it is not there. */
export function noEmulatedCuda(): string | undefined {
  if (loadAddon().addon === null) return 'the native addon has not been built here';
  if (process.platform !== 'linux') return 'the emulated device is built on Linux';
  if (existsSync(emulated)) return undefined;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['scripts/build-cuda.mjs', '--emulated'], {
    cwd: root,
    encoding: 'utf8',
  });
  return status === 0 ? undefined : `the emulated device cannot be built: ${stdout}${stderr}`;
}

/**
 * A device as good as new, but for what `settings` says (native/cuda/emulated/testing.h): each copy of the library has
 * one of its own, which reads the environment when it is first used.
 */
export function emulatedCuda(settings = ''): string {
  const copy = join(folder, `emulated-${++copies}.so`);
  copyFileSync(emulated, copy);
  process.env.EMULATED_CUDA = settings;
  return copy;
}

/** Compiles a library of a few lines. */
export function compileLibrary(name: string, source: string): string {
  const path = join(folder, `${name}.so`);
  const file = join(folder, `${name}.cpp`);
  writeFileSync(file, source);
  const { status, stderr } = spawnSync('g++', ['-shared', '-fPIC', '-o', path, file], { encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return path;
}

/** A file that is no library. */
export function textFile(): string {
  const path = join(folder, 'text.so');
  writeFileSync(path, 'not a library');
  return path;
}
