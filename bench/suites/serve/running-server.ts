import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ServerProcess, startServerProcess } from '../../../examples/online-retail/server-process.js';
import { chooseCores, Generator, pin } from '../../load/processes.js';
import { openTransport, type Transport, type TransportName } from '../../load/transport.js';

const entry = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));

/** The built server in a process of its own, with gRPC, and what speaks with it; gone when it is closed. */
export class RunningServer {
  readonly #folder: string;
  readonly #transports: Partial<Record<TransportName, Transport>> = {};
  #generator: Generator | undefined;

  private constructor(
    folder: string,
    readonly server: ServerProcess,
    readonly cores: ReturnType<typeof chooseCores>,
  ) {
    this.#folder = folder;
  }

  /**
   * @param options of `espalier serve`
   * @param isPinned the server keeps to its cores and the load generator to another, where there are several
   */
  static async start(options: readonly string[], isPinned: boolean): Promise<RunningServer> {
    if (!existsSync(entry)) throw new Error('the server has not been built; npm run build');
    const folder = mkdtempSync(join(tmpdir(), 'espalier-serve-'));
    try {
      const all = ['--log-level', 'error', '--grpc-port', '0', ...options];
      const server = await startServerProcess(folder, 0, all);
      const cores = isPinned ? chooseCores() : undefined;
      if (cores !== undefined) pin(server.process.pid!, cores.server);
      return new RunningServer(folder, server, cores);
    } catch (thrown) {
      rmSync(folder, { recursive: true, force: true });
      throw thrown;
    }
  }

  get url(): string {
    return this.server.url;
  }

  addressOf(name: TransportName): string {
    return name === 'grpc' ? this.server.grpcAddress! : this.url;
  }

  /** One for each protocol, kept open. */
  transport(name: TransportName): Transport {
    this.#transports[name] ??= openTransport(name, this.addressOf(name));
    return this.#transports[name];
  }

  get generator(): Generator {
    this.#generator ??= new Generator(this.cores?.generator);
    return this.#generator;
  }

  async close(): Promise<void> {
    this.#generator?.close();
    for (const transport of Object.values(this.#transports)) transport.close();
    if (this.server.process.exitCode === null && this.server.process.signalCode === null)
      await this.server.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
