import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import type { Sample, Task } from './generator.js';

/** Cores of each: the last is the load generator's own, where there are several and they can be chosen. */
export function chooseCores(): { server: string; generator: string } | undefined {
  const count = cpus().length;
  if (count < 2 || spawnSync('taskset', ['--version']).status !== 0) return undefined;
  return { server: count === 2 ? '0' : `0-${count - 2}`, generator: String(count - 1) };
}

/** Keeps a process, its threads and those that they start on some cores. */
export function pin(pid: number, cores: string): void {
  spawnSync('taskset', ['--all-tasks', '--pid', '--cpu-list', cores, String(pid)]);
}

/** What a process and its threads have run on the cores so far, in steps of 10 ms. */
export function cpuMsOf(pid: number): number {
  // After the name, which may hold anything: utime and stime are the fields 14 and 15 of all, in 1/100 s.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** The generator's process. */
export class Generator {
  readonly #child: ChildProcess;
  /** Rejects when it ends before it is told to. */
  readonly #ended: Promise<never>;

  constructor(cores: string | undefined) {
    const script = new URL('./generator.ts', import.meta.url).pathname;
    const command = [process.execPath, '--import', 'tsx', script];
    const [file, ...args] = cores === undefined ? command : ['taskset', '--cpu-list', cores, ...command];
    this.#child = spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.#ended = once(this.#child, 'exit').then(([code]) => {
      throw new Error(`the load generator ended with code ${code}`);
    });
    this.#ended.catch(() => {});
  }

  async run(task: Task): Promise<Sample[]> {
    this.#child.send(task);
    const [samples] = (await Promise.race([once(this.#child, 'message'), this.#ended])) as [Sample[]];
    return samples;
  }

  close(): void {
    this.#child.disconnect();
  }
}

/** Resident memory of a process, again and again. */
export class MemoryWatch {
  readonly samples: { atMs: number; rssBytes: number }[] = [];
  readonly #timer: NodeJS.Timeout;

  constructor(pid: number, intervalMs: number) {
    const beginMs = performance.now();
    this.#timer = setInterval(() => {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      const kilobytes = Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1]);
      this.samples.push({ atMs: performance.now() - beginMs, rssBytes: kilobytes * 1024 });
    }, intervalMs);
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
