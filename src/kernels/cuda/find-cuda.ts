import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CudaDevice, loadAddon } from '../native/addon.js';
import { probeCuda } from './probe.js';

/** Whether decode steps can run on a GPU here. Plain data: it is found once, and handed to the decode engines. */
export interface CudaFinding {
  /** Not asked for; no library to ask; one with which steps cannot run; steps can run. */
  state: 'off' | 'absent' | 'unusable' | 'usable';
  /** One line, without paths. */
  message: string;
  /** The library's path; null where nobody looked. */
  library: string | null;
  /** The library's ABI, where it could be asked. */
  abi: number | null;
  /** What is known of the device; its name is empty where there is none. */
  device: CudaDevice | null;
}

/** Where the library lies: as `ESPALIER_CUDA_LIBRARY` says, or where `npm run build:cuda` puts it. */
export function cudaLibraryPath(environment: NodeJS.ProcessEnv = process.env): string {
  const named = environment.ESPALIER_CUDA_LIBRARY;
  // An absolute path: dlopen would look for a bare name elsewhere.
  if (named) return resolve(named);
  return fileURLToPath(new URL('../../../build/cuda/libespalier_cuda.so', import.meta.url));
}

/** @param limitMs how long the device may take to answer */
export function lookForCuda(library: string = cudaLibraryPath(), limitMs?: number): CudaFinding {
  const nothing = { library, abi: null, device: null };
  if (!existsSync(library)) {
    if (process.env.ESPALIER_CUDA_LIBRARY) {
      return {
        state: 'unusable',
        message: 'ESPALIER_CUDA_LIBRARY names a file that is not there',
        ...nothing,
      };
    }
    const message = 'there is no CUDA library; `npm run build:cuda` builds it where there is nvcc';
    return { state: 'absent', message, ...nothing };
  }
  const { addon, reason } = loadAddon();
  if (addon === null)
    return { state: 'unusable', message: `CUDA needs the native addon: ${reason}`, ...nothing };
  return { library, ...probeCuda(library, limitMs) };
}

let found: CudaFinding | undefined;

/** Looks once in a process: at its start, never for a request. */
export function findCuda(): CudaFinding {
  found ??= lookForCuda();
  return found;
}

/** Nobody looked. @param why one line */
export function cudaOff(why: string): CudaFinding {
  return { state: 'off', message: why, library: null, abi: null, device: null };
}
