import { readdirSync, readFileSync } from 'node:fs';

/** The niceness of every thread of a process, on Linux: field 19 of its stat. The name before it may have blanks. */
export function nicenesses(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
    try {
      return [Number(readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8').split(') ')[1].split(' ')[16])];
    } catch {
      return [];
    }
  });
}
