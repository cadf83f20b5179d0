import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

/** Processes that do nothing but keep a core busy each, as other tenants of a machine do. */
export class Neighbours {
  readonly #processes: ChildProcess[];

  private constructor(processes: ChildProcess[]) {
    this.#processes = processes;
  }

  /** Resolves once all of them are running. */
  static async start(count: number): Promise<Neighbours> {
    const script = 'process.stdout.write("busy", () => { for (;;); });';
    const processes = Array.from({ length: count }, () =>
      spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
    );
    await Promise.all(processes.map(({ stdout }) => once(stdout!, 'data')));
    return new Neighbours(processes);
  }

  async stop(): Promise<void> {
    const exits = this.#processes.map((process) => once(process, 'exit'));
    for (const process of this.#processes) process.kill('SIGKILL');
    await Promise.all(exits);
  }
}
