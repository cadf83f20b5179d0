import type { LiveLeaves, StepDevice } from '../kernels/index.js';
import type { ConstraintSet } from '../static-trie/index.js';
import type { ActiveCatalog } from './active-catalog.js';
import type { PreparedRequest } from './prepare-request.js';

/** A catalog's sets that a device may hold. */
interface PlacedSets {
  sets: Set<LiveLeaves>;
  /** The catalog's, when they were last compared with what it keeps. */
  generation: number;
}

/** Brings catalogs' sets to a device, and frees those there that no request can ask for any more. */
export class DeviceSets {
  readonly #device: StepDevice | undefined;
  readonly #placed = new Map<ActiveCatalog, PlacedSets>();

  constructor(device: StepDevice | undefined) {
    this.#device = device;
  }

  /** @returns its bytes there, or 0 where it does not go there */
  prepare(catalog: ActiveCatalog, set: ConstraintSet): number {
    if (this.#device === undefined) return 0;
    this.#placedOf(catalog).sets.add(set.live);
    return this.#device.prepareSet(catalog.constraintOf(set));
  }

  /** After a batch, whose steps have brought there what its requests needed. */
  afterBatch(requests: readonly (PreparedRequest | undefined)[]): void {
    if (this.#device === undefined) return;
    for (const request of requests) {
      if (request === undefined || request.set === null) continue;
      // A list of items is one request's own.
      if (request.included !== null) this.#device.dropSet(request.set.live);
      else this.#placedOf(request.catalog).sets.add(request.set.live);
    }
    for (const catalog of this.#placed.keys()) this.dropReplaced(catalog);
  }

  /** Frees the sets that the catalog has replaced or let go of. */
  dropReplaced(catalog: ActiveCatalog | undefined): void {
    const placed = catalog && this.#placed.get(catalog);
    if (placed === undefined || placed.generation === catalog!.setGeneration) return;
    placed.generation = catalog!.setGeneration;
    const kept = new Set(Array.from(catalog!.keptSets(), ({ live }) => live));
    for (const live of placed.sets) {
      if (kept.has(live)) continue;
      placed.sets.delete(live);
      this.#device!.dropSet(live);
    }
  }

  /** Of a catalog whose trie is released, and its sets with it. */
  forget(catalog: ActiveCatalog): void {
    this.#placed.delete(catalog);
  }

  #placedOf(catalog: ActiveCatalog): PlacedSets {
    let placed = this.#placed.get(catalog);
    if (placed === undefined) {
      placed = { sets: new Set(), generation: catalog.setGeneration };
      this.#placed.set(catalog, placed);
    }
    return placed;
  }
}
