import {
  CATALOG,
  type RetailItem,
  readItems,
  readShoppers,
  type Shopper,
} from '../../examples/online-retail/retail.js';
import { Random } from '../../test/helpers/random.js';
import { facts } from './facts.js';
import type { LoadReply, LoadRequest } from './transport.js';

const SETS = [undefined, 'germany', 'under-2-pounds', 'new-arrivals', 'in-stock'];

/** Read once in a process. */
let retail: Promise<[Shopper[], RetailItem[]]> | undefined;

/** The requests of the load, always the same ones in the same order, and what is right for an answer to them. */
export class Requests {
  readonly #shoppers: Shopper[];
  readonly #items: Map<string, RetailItem>;
  readonly #random: Random;

  static async read(seed: number): Promise<Requests> {
    retail ??= Promise.all([readShoppers(), readItems()]);
    const [shoppers, items] = await retail;
    return new Requests(shoppers, items, seed);
  }

  private constructor(shoppers: Shopper[], items: RetailItem[], seed: number) {
    this.#shoppers = shoppers;
    this.#items = new Map(items.map((item) => [item.id, item]));
    this.#random = new Random(seed);
  }

  /** The next one; a plain one has no constraint. */
  next(timeoutMs: number, isPlain: boolean): LoadRequest {
    const { historyWithRepeats: history } = this.#random.pick(this.#shoppers);
    const set = isPlain ? undefined : this.#random.pick(SETS);
    return {
      catalog: CATALOG,
      history,
      k: 10,
      beamWidth: 50,
      constraint: set === undefined ? {} : { set },
      excludeHistory: !isPlain && this.#random.chance(0.5),
      timeoutMs,
    };
  }

  /** What is wrong with an answer, if anything is. */
  fault(
    { constraint: { set }, history, excludeHistory, k }: LoadRequest,
    { items, isComplete }: Extract<LoadReply, { outcome: 'answer' }>,
  ): string | undefined {
    if (isComplete !== (items.length === k)) return `${items.length} items, complete: ${isComplete}`;
    if (new Set(items.map(({ id }) => id)).size !== items.length) return 'an item comes twice';
    for (const { id } of items) {
      const item = this.#items.get(id);
      if (item === undefined) return `there is no item ${id}`;
      if (set !== undefined && !facts[set](item)) return `item ${id} is not in ${set}`;
      if (excludeHistory && history.includes(id)) return `item ${id} is in the history`;
    }
    return undefined;
  }
}
