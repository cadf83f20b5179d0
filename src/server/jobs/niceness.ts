import { readdirSync, readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';

/** Nice enough that the scheduler prefers what answers requests, and not starved where there are idle cores. */
const NICENESS = 10;

/** For a thread beside others that are to stay as they are; only Linux can tell them apart. */
export function makeThreadNice(): void {
  if (process.platform === 'linux') makeNice(basename(readlinkSync('/proc/thread-self')));
}

/** For a process that works on jobs. On Linux a priority belongs to a thread, and those of the runtime are there already. */
export function becomeNice(): void {
  if (process.platform !== 'linux') {
    setPriority(NICENESS);
    return;
  }
  for (const thread of readdirSync('/proc/self/task')) makeNice(thread);
}

function makeNice(thread: string): void {
  try {
    setPriority(Number(thread), NICENESS);
  } catch {
    // It has ended meanwhile, or is nicer already.
  }
}
