/**
 * Engines tell the requests of a batch apart by their ids, and callers may send one id twice: for a retry, or for the
 * parts of one request. Each that is under way gets an id of its own, in most cases the one that it came with.
 */
export class IdsInFlight {
  readonly #taken = new Set<string>();

  /** To be given back with `free`. */
  take(wanted: string): string {
    let id = wanted;
    for (let count = 2; this.#taken.has(id); count++) id = `${wanted}#${count}`;
    this.#taken.add(id);
    return id;
  }

  free(id: string): void {
    this.#taken.delete(id);
  }
}
