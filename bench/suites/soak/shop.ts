import { gzipSync } from 'node:zlib';
import {
  attributes,
  CATALOG,
  MODEL,
  type RetailItem,
  readItems,
  readShoppers,
  rules,
  type Shopper,
} from '../../../examples/online-retail/retail.js';
import { Random } from '../../../test/helpers/random.js';
import { facts } from '../../load/facts.js';
import type { LoadReply, LoadRequest } from '../../load/transport.js';
import { Timeline } from './timeline.js';

/** What a small change gives an item. */
interface Changing {
  price: number;
  /** Milliseconds of the epoch; null: no offer. */
  offerEndsMs: number | null;
}

interface SetRule {
  rule: string;
  params?: Record<string, string | number>;
  refreshSeconds?: number;
  maxAgeSeconds?: number;
}

interface Entry {
  item: RetailItem;
  isThere: Timeline<boolean>;
  values: Timeline<Changing>;
}

/** How old the evaluation of `on-offer` may be; the server refuses when it is older. */
const MAX_AGE_SECONDS = 10;
/** Offers of the first upload last at most so long; those of updates are short, so that there are always some. */
const FIRST_OFFERS_MS = 600_000;
const OFFER_MS = 60_000;
const FILTER_PRICE = 3;

export const definition = {
  model: MODEL,
  attributes: { ...attributes, offerEnds: { type: 'timestamp' } },
} as const;

/** The retail catalog as whoever changes it knows it, and with that what may be in an answer. */
export class Shop {
  readonly #entries: Map<string, Entry>;
  readonly #shoppers: readonly Shopper[];
  readonly #cap = new Timeline(4);

  static async read(seed: number, nowMs: number): Promise<Shop> {
    return new Shop(await readItems(), await readShoppers(), seed, nowMs);
  }

  constructor(items: readonly RetailItem[], shoppers: readonly Shopper[], seed: number, nowMs: number) {
    const random = new Random(seed);
    this.#shoppers = shoppers;
    this.#entries = new Map(
      items.map((item) => {
        const offerEndsMs = random.chance(0.5) ? nowMs + random.below(FIRST_OFFERS_MS) : null;
        const values = new Timeline<Changing>({ price: item.price, offerEndsMs });
        return [item.id, { item, isThere: new Timeline(true), values }];
      }),
    );
  }

  /** Sets that the shop begins with; `price-cap` gets other rules, and `on-offer` evaluates itself again. */
  get sets(): Record<string, SetRule> {
    return {
      ...rules,
      'price-cap': capRule(this.#cap.latest),
      'on-offer': { rule: 'offerEnds > now', refreshSeconds: 1, maxAgeSeconds: MAX_AGE_SECONDS },
    };
  }

  /** A request of some shopper under some constraint. */
  request(random: Random, timeoutMs: number): LoadRequest {
    const { historyWithRepeats: history } = random.pick(this.#shoppers);
    const choices = [
      {},
      { filter: `price < ${FILTER_PRICE}.0` },
      ...Object.keys(this.sets).map((set) => ({ set })),
    ];
    return {
      catalog: CATALOG,
      history,
      k: 10,
      beamWidth: random.pick([10, 50]),
      constraint: random.pick(choices),
      excludeHistory: random.chance(0.5),
      timeoutMs,
    };
  }

  /**
   * What is wrong with an answer, if anything is: it must be right at some moment between these two.
   * @param sentMs when it was asked for. @param receivedMs when it had come
   */
  fault(
    { constraint, history, excludeHistory, k }: LoadRequest,
    { items, isComplete }: Extract<LoadReply, { outcome: 'answer' }>,
    sentMs: number,
    receivedMs: number,
  ): string | undefined {
    if (isComplete !== (items.length === k)) return `${items.length} items, complete: ${isComplete}`;
    if (new Set(items.map(({ id }) => id)).size !== items.length) return 'an item comes twice';
    for (const { id } of items) {
      const entry = this.#entries.get(id);
      if (entry === undefined) return `there is no item ${id}`;
      if (!entry.isThere.between(sentMs, receivedMs).includes(true)) return `item ${id} was removed`;
      if (excludeHistory && history.includes(id)) return `item ${id} is in the history`;
      if (!this.#mayBeAllowed(entry, constraint, sentMs, receivedMs))
        return `item ${id} is not allowed by ${JSON.stringify(constraint)}`;
    }
    return undefined;
  }

  /** Takes items away. @returns the ids, and what to call when that is acknowledged */
  remove(random: Random, count: number, nowMs: number) {
    const chosen = this.#some(random, count, (index) => index % 10 === 0);
    return {
      ids: chosen.map(({ item }) => item.id),
      done: all(chosen.map(({ isThere }) => isThere.change(false, nowMs))),
    };
  }

  /** Gives items other prices and offers. */
  update(random: Random, count: number, nowMs: number) {
    // Never those that are taken away: an update of what is not there would be refused in part.
    const chosen = this.#some(random, count, (index) => index % 10 > 5);
    const changes = chosen.map(({ item, values }) => {
      const price = 0.5 + random.below(800) / 100;
      const offerEndsMs = random.chance(0.8) ? nowMs + random.below(OFFER_MS) : null;
      return { id: item.id, price, offerEndsMs, done: values.change({ price, offerEndsMs }, nowMs) };
    });
    return {
      update: changes.map(({ id, price, offerEndsMs }) => ({ id, price, offerEnds: isoOf(offerEndsMs) })),
      done: all(changes.map(({ done }) => done)),
    };
  }

  /** Another rule of `price-cap`. */
  changeCap(random: Random, nowMs: number) {
    const cap = 1 + random.below(60) / 10;
    return { rule: capRule(cap), done: this.#cap.change(cap, nowMs) };
  }

  /**
   * All items with the values that they have, as an upload; those that were taken away are in it again, but for a
   * few. From now on they may be answered, or not: nothing says when.
   */
  upload(random: Random, nowMs: number): Uint8Array<ArrayBuffer> {
    const lines: string[] = [];
    for (const { item, isThere, values } of this.#entries.values()) {
      if (!isThere.latest) {
        if (random.chance(0.2)) continue;
        isThere.change(true, nowMs);
      }
      const { price, offerEndsMs } = values.latest;
      const offer = offerEndsMs === null ? {} : { offerEnds: isoOf(offerEndsMs) };
      lines.push(JSON.stringify({ ...item, price, ...offer }));
    }
    return gzipSync(lines.join('\n'));
  }

  #mayBeAllowed(
    entry: Entry,
    constraint: LoadRequest['constraint'],
    sentMs: number,
    receivedMs: number,
  ): boolean {
    const { set, filter } = constraint;
    const values = entry.values.between(sentMs, receivedMs);
    if (filter !== undefined) return values.some(({ price }) => price < FILTER_PRICE);
    if (set === undefined) return true;
    if (set === 'price-cap') {
      const caps = this.#cap.between(sentMs, receivedMs);
      return values.some(({ price }) => caps.some((cap) => price < cap));
    }
    if (set === 'on-offer') {
      const evaluatedMs = sentMs - MAX_AGE_SECONDS * 1000;
      return values.some(({ offerEndsMs }) => offerEndsMs !== null && offerEndsMs > evaluatedMs);
    }
    return values.some(({ price }) => facts[set]({ ...entry.item, price }));
  }

  #some(random: Random, count: number, isChosen: (index: number) => boolean): Entry[] {
    const pool = [...this.#entries.values()].filter((_, index) => isChosen(index));
    return [...new Set(Array.from({ length: count }, () => random.pick(pool)))];
  }
}

function capRule(cap: number) {
  return { rule: 'price < params.cap', params: { cap } };
}

function isoOf(ms: number | null): string | null {
  return ms === null ? null : new Date(ms).toISOString();
}

function all(done: readonly ((doneMs: number) => void)[]): (doneMs: number) => void {
  return (doneMs) => {
    for (const one of done) one(doneMs);
  };
}
