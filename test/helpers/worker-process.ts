import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { endAfterFile } from './leftovers.js';

export interface WorkerProcess {
  process: ChildProcess;
  /** SIGTERM, then waits. @returns the exit code */
  stop(): Promise<number | null>;
  kill(): Promise<void>;
}

/** `espalier worker` as a process of its own, once it is ready. */
export async function startWorkerProcess(
  dataDir: string,
  redisUrl: string,
  options: readonly string[] = [],
): Promise<WorkerProcess> {
  const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
  const args = ['worker', '--data-dir', dataDir, '--redis-url', redisUrl, '--log-level', 'fatal', ...options];
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'inherit', 'pipe'] });
  endAfterFile(() => child.kill('SIGKILL'));
  const ended = once(child, 'exit');
  const lines: string[] = [];
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      lines.push(line);
      if (line === 'Espalier worker is ready') resolve();
    });
    child.once('exit', (code) =>
      reject(new Error(`the worker ended with code ${code}:\n${lines.join('\n')}`)),
    );
  });
  return {
    process: child,
    async stop() {
      child.kill('SIGTERM');
      const [code] = await ended;
      return code as number | null;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
