import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EspalierClient } from 'espalier/client';
import { startServerProcess } from '../../../examples/online-retail/server-process.js';
import { codebookSizes, model, schema } from './items.js';

const models = fileURLToPath(new URL('../../changes/models', import.meta.url));

/** A server in a process of its own, with a model that nobody asks, for catalogs of any size. */
export class SidsServer {
  readonly client: EspalierClient;
  readonly pid: number;
  readonly #stop: () => Promise<void>;

  private constructor(url: string, pid: number, stop: () => Promise<void>) {
    this.client = new EspalierClient({ url, timeoutMs: 120_000, retries: 0 });
    this.pid = pid;
    this.#stop = stop;
  }

  static async start(): Promise<SidsServer> {
    const folder = mkdtempSync(join(tmpdir(), 'espalier-bench-'));
    const clear = () => rmSync(folder, { recursive: true, force: true });
    const options = ['--models-dir', models, '--log-level', 'warn', '--decode-engines', '1'];
    try {
      const { url, process, stop } = await startServerProcess(folder, 0, options);
      return new SidsServer(url, process.pid!, () => stop().finally(clear));
    } catch (thrown) {
      clear();
      throw thrown;
    }
  }

  async putCatalog(catalog: string): Promise<void> {
    await this.client.catalogs.put(catalog, { model, sid: { codebookSizes }, attributes: schema });
  }

  /** Sends items packed with gzip, and waits until they are active. */
  async upload(catalog: string, packed: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<void> {
    const { job } = await this.client.catalogs.upload(catalog, packed, {
      isGzip: true,
      activate: true,
      signal,
    });
    await this.client.jobs.wait(job.id, { signal });
  }

  /** Ends it, and deletes what it kept. */
  stop(): Promise<void> {
    return this.#stop();
  }
}
