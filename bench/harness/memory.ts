import { readFileSync } from 'node:fs';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Bytes that this process may still take: what the system has, and what the limits of the process's control groups
 * leave, the groups above its own among them. Cached files count as free in both, since they make room.
 * @param root of the file system, for tests
 */
export function availableBytes(root = '/'): number {
  const system = memAvailable(root) ?? freemem();
  return Math.max(0, Math.min(system, ...groupHeadrooms(root)));
}

/** Gives back what nobody holds any more: arrays of gigabytes outside the heap hardly make V8 collect. */
export async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  // Finalizers of native memory run in turns of the event loop.
  await setImmediate();
  collect();
}

export function shownBytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.ceil(bytes / 1e6)} MB`;
}

function memAvailable(root: string): number | undefined {
  const kilobytes = /^MemAvailable:\s+(\d+) kB$/m.exec(read(join(root, 'proc/meminfo')) ?? '')?.[1];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

function groupHeadrooms(root: string): number[] {
  const headrooms: number[] = [];
  for (const line of (read(join(root, 'proc/self/cgroup')) ?? '').trim().split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const isUnified = controllers === '';
    if (!isUnified && !controllers?.split(',').includes('memory')) continue;
    const mount = isUnified ? 'sys/fs/cgroup' : 'sys/fs/cgroup/memory';
    const [limit, usage] = isUnified
      ? ['memory.max', 'memory.current']
      : ['memory.limit_in_bytes', 'memory.usage_in_bytes'];
    const parts = path.split('/').filter(Boolean);
    for (let depth = parts.length; depth >= 0; depth--) {
      const folder = join(root, mount, ...parts.slice(0, depth));
      const most = numberIn(join(folder, limit));
      const used = numberIn(join(folder, usage));
      if (most === undefined || used === undefined) continue;
      headrooms.push(most - used + cachedBytes(join(folder, 'memory.stat')));
    }
  }
  return headrooms;
}

function cachedBytes(path: string): number {
  const lines = (read(path) ?? '').matchAll(/^(?:total_)?(?:in)?active_file (\d+)$/gm);
  const sizes = Array.from(lines, ([line, bytes]) => ({
    isTotal: line.startsWith('total_'),
    bytes: Number(bytes),
  }));
  // Version 1 counts a group alone, and again with those below it.
  const hasTotals = sizes.some(({ isTotal }) => isTotal);
  return sizes.filter(({ isTotal }) => isTotal === hasTotals).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Undefined where there is no such file, or no limit. */
function numberIn(path: string): number | undefined {
  const text = read(path)?.trim();
  return text === undefined || !/^\d+$/.test(text) ? undefined : Number(text);
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
