import { setTimeout } from 'node:timers/promises';
import { CATALOG, call, jobEnd } from '../../../examples/online-retail/retail.js';
import { Random } from '../../../test/helpers/random.js';
import { ErrorCounts } from './error-counts.js';
import type { Shop } from './shop.js';

/** What is done to the catalog, by name. */
type Change = 'update' | 'removal' | 'rule' | 'upload' | 'activation' | 'rollback';

/** Again and again. After an upload its job goes on while the next changes come. */
const CYCLE: readonly Change[] = [
  'update',
  'removal',
  'rule',
  'upload',
  'update',
  'removal',
  'update',
  'rule',
  'activation',
  'removal',
  'update',
  'rollback',
];

/** Changes a catalog, one change at a time, and remembers what of it has been acknowledged. */
export class Changes {
  readonly counts = new Map<Change, number>();
  /** By code. */
  readonly errors = new ErrorCounts();
  readonly #catalog: string;
  readonly #shop: Shop;
  readonly #random: Random;
  #job: Promise<void> = Promise.resolve();

  constructor(url: string, shop: Shop, seed: number) {
    this.#catalog = `${url}/v1/catalogs/${CATALOG}`;
    this.#shop = shop;
    this.#random = new Random(seed);
  }

  /** @param signal ends the wait between two changes, and the changes */
  async run(pauseMs: number, signal: AbortSignal): Promise<void> {
    for (let turn = 0; !signal.aborted; turn++) {
      const change = CYCLE[turn % CYCLE.length];
      try {
        await this.#make(change);
        this.counts.set(change, (this.counts.get(change) ?? 0) + 1);
      } catch (thrown) {
        if (signal.aborted) return;
        const { message } = thrown as Error;
        const code = `${change}: ${/ESP_[A-Z_]+/.exec(message)?.[0] ?? message}`;
        this.errors.add(code, Date.now());
      }
      await setTimeout(pauseMs, undefined, { signal }).catch(() => {});
    }
  }

  async #make(change: Change): Promise<void> {
    const shop = this.#shop;
    const random = this.#random;
    if (change === 'update') {
      const { update, done } = shop.update(random, 20, Date.now());
      await call(`${this.#catalog}/items`, 'PATCH', { update });
      done(Date.now());
    } else if (change === 'removal') {
      const { ids, done } = shop.remove(random, 10, Date.now());
      await call(`${this.#catalog}/items`, 'PATCH', { remove: ids });
      done(Date.now());
    } else if (change === 'rule') {
      const { rule, done } = shop.changeCap(random, Date.now());
      await call(`${this.#catalog}/constraint-sets/price-cap`, 'PUT', rule);
      done(Date.now());
    } else if (change === 'upload') {
      await this.#endJob();
      const jobEnds = await this.#upload();
      this.#job = jobEnds();
      // It ends beside the next changes; who waits for it sees why it failed.
      this.#job.catch(() => {});
    } else {
      await this.#endJob();
      if (change === 'rollback') await call(`${this.#catalog}/rollback`, 'POST', {});
      else await this.#activateAnother();
    }
  }

  async #endJob(): Promise<void> {
    const job = this.#job;
    this.#job = Promise.resolve();
    await job;
  }

  /** When this returns, the upload has begun: what is changed from then on applies to its version. @returns its job's end */
  async #upload(): Promise<() => Promise<void>> {
    const url = `${this.#catalog}/versions?activate=true`;
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/x-ndjson', 'content-encoding': 'gzip' },
      body: this.#shop.upload(this.#random, Date.now()),
    });
    const answer = (await response.json()) as { job?: { id: string }; error?: { code: string } };
    if (answer.job === undefined) throw new Error(answer.error?.code ?? `status ${response.status}`);
    const { id } = answer.job;
    return () => jobEnd(new URL(url).origin, id);
  }

  async #activateAnother(): Promise<void> {
    const { versions } = await call<{ versions: { version: number }[] }>(`${this.#catalog}/versions`, 'GET');
    const { version } = this.#random.pick(versions);
    await call(`${this.#catalog}/versions/${version}/activate`, 'POST');
  }
}
