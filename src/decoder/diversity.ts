import type { AttributeValue } from '../static-trie/index.js';

/**
 * Lets an item through as long as fewer than `max` items before it share a value with it. Items without a value
 * share that; an item with a list of values needs room for each of them.
 */
export class DiversityFilter {
  readonly #valueOf: (item: number) => AttributeValue | undefined;
  readonly #max: number;
  readonly #counts = new Map<AttributeValue | undefined, number>();

  constructor(currentValue: (item: number) => AttributeValue | undefined, max: number) {
    this.#valueOf = currentValue;
    this.#max = max;
  }

  /** Asked once for each item, the best first. */
  admit(item: number): boolean {
    const value = this.#valueOf(item);
    // An empty list is no value.
    const values = !Array.isArray(value) ? [value] : value.length > 0 ? new Set(value) : [undefined];
    for (const one of values) if ((this.#counts.get(one) ?? 0) >= this.#max) return false;
    for (const one of values) this.#counts.set(one, (this.#counts.get(one) ?? 0) + 1);
    return true;
  }
}
