/**
 * Values by key, made when they are first asked for. The least recently used ones go when all together weigh too much;
 * the newest stays, whatever it weighs.
 */
export class LruCache<Value> {
  readonly #limit: number;
  readonly #weigh: (value: Value) => number;
  /** Least recently used first; a map keeps the order in which its keys were put. */
  readonly #values = new Map<string, Value>();
  #weight = 0;
  #departures = 0;

  /** @param weigh what a value counts for against the limit, the same each time it is asked */
  constructor(limit: number, weigh: (value: Value) => number = () => 1) {
    this.#limit = limit;
    this.#weigh = weigh;
  }

  /** @throws what `make` throws; then nothing is kept. */
  get(key: string, make: () => Value): Value {
    const cached = this.#values.get(key);
    if (cached !== undefined) {
      this.#values.delete(key);
      this.#values.set(key, cached);
      return cached;
    }
    const value = make();
    this.#values.set(key, value);
    this.#weight += this.#weigh(value);
    while (this.#weight > this.#limit && this.#values.size > 1) {
      const [oldest, evicted] = this.#values.entries().next().value!;
      this.#values.delete(oldest);
      this.#departures++;
      this.#weight -= this.#weigh(evicted);
    }
    return value;
  }

  /** Grows with every value that has gone. */
  get departures(): number {
    return this.#departures;
  }

  values(): Iterable<Value> {
    return this.#values.values();
  }

  clear(): void {
    this.#departures += this.#values.size;
    this.#values.clear();
    this.#weight = 0;
  }
}
