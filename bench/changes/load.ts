import { CATALOG, call, type Shopper } from '../../examples/online-retail/retail.js';
import { quantile } from '../harness/statistics.js';

export interface WindowStats {
  /** Of each request, in order, ms. */
  times: number[];
  p99: number;
  /** The longest that a request took beside its decode: in HTTP and in the queue. */
  maxWait: number;
}

interface Answer {
  items: unknown[];
  timings: { modelMs: number; constraintMs: number };
}

/** One client that asks for recommendations, one after the other, on behalf of the same shoppers in turn. */
export class Load {
  readonly #url: string;
  readonly #shoppers: readonly Shopper[];
  #next = 0;

  constructor(url: string, shoppers: readonly Shopper[]) {
    this.#url = url;
    this.#shoppers = shoppers;
  }

  /** For so long. */
  async window(durationMs: number): Promise<WindowStats> {
    return this.during(new Promise((resolve) => setTimeout(resolve, durationMs)));
  }

  /** Until something else is done. @throws what that throws */
  async during(other: Promise<unknown>): Promise<WindowStats> {
    let isDone = false;
    const done = other.finally(() => {
      isDone = true;
    });
    const times: number[] = [];
    let maxWait = 0;
    while (!isDone) {
      const startMs = performance.now();
      const { history } = this.#shoppers[this.#next++ % this.#shoppers.length];
      const body = { catalog: CATALOG, history, constraint: { set: 'under-2-pounds' } };
      const { items, timings } = await call<Answer>(`${this.#url}/v1/recommend`, 'POST', body);
      if (items.length !== 10) throw new Error(`expected 10 items, found ${items.length}`);
      const time = performance.now() - startMs;
      times.push(time);
      maxWait = Math.max(maxWait, time - timings.modelMs - timings.constraintMs);
    }
    await done;
    return { times, p99: quantile(times, 0.99), maxWait };
  }
}
