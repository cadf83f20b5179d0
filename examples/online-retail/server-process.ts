import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { modelsDir } from './retail.js';

export interface ServerProcess {
  url: string;
  /** host:port of gRPC, where `--grpc-port` is among the options. */
  grpcAddress?: string;
  process: ChildProcess;
  /** SIGTERM, then waits until the process has ended. */
  stop(): Promise<void>;
}

/**
 * Starts `espalier serve` over the bundled models and waits until it listens.
 * @param log where its log goes: with this process' output, or to `process.stdout` of what is returned
 */
export async function startServerProcess(
  dataDir: string,
  port: number,
  options: readonly string[] = [],
  log: 'inherit' | 'pipe' = 'inherit',
): Promise<ServerProcess> {
  const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
  const args = [
    'serve',
    '--data-dir',
    dataDir,
    '--models-dir',
    modelsDir,
    '--port',
    String(port),
    ...options,
  ];
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', log, 'pipe'] });
  const ended = once(child, 'exit');
  let grpcAddress: string | undefined;
  const url = await new Promise<string>((resolve, reject) => {
    const lines: string[] = [];
    createInterface({ input: child.stderr! }).on('line', (line) => {
      const listening = /^Espalier listens on (\S+)/.exec(line);
      const serving = /^Espalier serves gRPC on http:\/\/(\S+)/.exec(line);
      if (listening) resolve(listening[1]);
      else if (serving) grpcAddress = serving[1];
      else process.stderr.write(`${line}\n`);
      lines.push(line);
    });
    child.once('exit', (code) =>
      reject(new Error(`the server ended with code ${code}:\n${lines.join('\n')}`)),
    );
  });
  return {
    url,
    ...(grpcAddress !== undefined && { grpcAddress }),
    process: child,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
