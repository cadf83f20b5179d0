import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { median } from '../../harness/statistics.js';

/** Of one process, in bytes. */
export interface Resident {
  /** All pages that are in memory. */
  all: number;
  /** Those that no file stands behind: nobody else can have them. */
  anonymous: number;
  /** Pages of mapped files, which the system takes back when it needs memory. */
  files: number;
}

/** Linux says it; other systems do not. */
export const canMeasureResident = existsSync('/proc/self/smaps_rollup');

/** @throws Error where the process has ended */
export function residentOf(pid: number): Resident {
  return parseResident(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'));
}

/** @param text of `/proc/<pid>/smaps_rollup` */
export function parseResident(text: string): Resident {
  const [all, anonymous] = ['Rss', 'Anonymous'].map((name) => {
    const kilobytes = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
    if (kilobytes === undefined) throw new Error(`smaps_rollup has no ${name}`);
    return Number(kilobytes) * 1024;
  });
  return { all, anonymous, files: all - anonymous };
}

/** @param everyMs between two samples */
export async function sampleResident(
  pid: number,
  samples: number,
  everyMs: number,
  signal: AbortSignal,
): Promise<Resident[]> {
  const found: Resident[] = [];
  for (let sample = 0; sample < samples; sample++) {
    await sleep(everyMs, undefined, { signal });
    found.push(residentOf(pid));
  }
  return found;
}

/** @param part of what is resident */
export function medianOf(samples: readonly Resident[], part: keyof Resident): number {
  return median(samples.map((one) => one[part]));
}
