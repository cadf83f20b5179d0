import { type Column, jsonValueAt } from '../static-trie/index.js';

/**
 * Lets an item through as long as fewer than `max` items before it share a value with it. Items without a value
 * share that; an item with a list of values needs room for each of them.
 */
export class DiversityFilter {
  readonly #column: Column;
  readonly #max: number;
  readonly #counts = new Map<unknown, number>();

  constructor(column: Column, max: number) {
    this.#column = column;
    this.#max = max;
  }

  /** Asked once for each item, the best first. */
  admit(item: number): boolean {
    const value = jsonValueAt(this.#column, item) ?? null;
    const values =
      Array.isArray(value) && value.length > 0 ? new Set<unknown>(value) : new Set([keyOf(value)]);
    for (const one of values) if ((this.#counts.get(one) ?? 0) >= this.#max) return false;
    for (const one of values) this.#counts.set(one, (this.#counts.get(one) ?? 0) + 1);
    return true;
  }
}

/** An empty list is no value. */
function keyOf(value: unknown): unknown {
  return Array.isArray(value) ? null : value;
}
