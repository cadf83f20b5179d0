import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Unit } from '../../harness/types.js';
import type { RowOptions } from './rows.js';

const script = fileURLToPath(new URL('peak-process.ts', import.meta.url));

export interface Peak {
  /** What a process took for its first build, its input included. */
  peakBytes: number;
  /** That build, whose memory had never been touched. */
  coldMs: number;
  leaves: number;
}

/** Where the system keeps no such count, there is nothing to measure. */
export const canMeasurePeak = existsSync('/proc/self/status');

/** @throws Error with what the process printed where it failed, and where `signal` is aborted */
export async function peakOf(
  options: RowOptions,
  kernel: string,
  threads: number,
  signal: AbortSignal,
): Promise<Peak> {
  const args = ['--import', 'tsx', script, JSON.stringify(options), kernel, String(threads)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { signal });
  return JSON.parse(stdout) as Peak;
}

export function peakExtras({ peakBytes, coldMs }: Peak): Record<string, { value: number; unit: Unit }> {
  return {
    'peak memory': { value: peakBytes, unit: 'bytes' },
    'first build': { value: coldMs, unit: 'ms' },
  };
}
