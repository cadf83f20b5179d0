import { setImmediate } from 'node:timers/promises';
import { describe, EspalierError } from '../errors.js';
import type { BuildOptions } from './build-trie.js';
import { CatalogSnapshot, type ItemUpdate } from './catalog-snapshot.js';
import { type CatalogVersion, CatalogVersionBuilder, sidOf } from './catalog-version.js';
import type { AttributeSchema } from './columns.js';
import type { ParsedItem } from './items/check-item.js';
import type { SetTruth } from './set-truth.js';

/** Items copied between two looks at what else there is to do. */
const ITEMS_AT_A_TIME = 8_192;

type Change = { kind: 'remove'; ids: readonly string[] } | { kind: 'update'; updates: readonly ItemUpdate[] };

/**
 * A catalog that changes while it is used. Removals and updates are in the next snapshot when the call returns.
 * Items are added by building a new version in the background; what changes meanwhile is written in a journal
 * and repeated on the new version before it takes the old one's place, at once and with all its sets.
 */
export class LiveCatalog {
  readonly #schema: AttributeSchema;
  #snapshot: CatalogSnapshot;
  /** Changes since the build under way began; null while there is none. */
  #journal: Change[] | null = null;
  /** Builds run one after the other. */
  #builds: Promise<unknown> = Promise.resolve();

  constructor(version: CatalogVersion, schema: AttributeSchema) {
    this.#schema = schema;
    this.#snapshot = CatalogSnapshot.of(version, schema);
  }

  /** What a request takes when it begins, and keeps to its end. */
  get snapshot(): CatalogSnapshot {
    return this.#snapshot;
  }

  /** @throws EspalierError ESP_RULE_… where its rule does not fit the schema; the set before stays. */
  putSet(name: string, truth: SetTruth, nowMs: number): void {
    this.#snapshot = this.#snapshot.withSet(name, truth, nowMs);
  }

  deleteSet(name: string): void {
    this.#snapshot = this.#snapshot.withoutSet(name);
  }

  /** @returns the ids that the catalog does not have. */
  remove(ids: readonly string[]): string[] {
    const { snapshot, unknown } = this.#snapshot.withRemoved(ids);
    this.#snapshot = snapshot;
    this.#journal?.push({ kind: 'remove', ids });
    return unknown;
  }

  /**
   * @returns the ids that the catalog does not have.
   * @throws EspalierError ESP_ATTRIBUTE_NOT_FOUND on a name that is not in the schema; nothing changes.
   */
  update(updates: readonly ItemUpdate[]): string[] {
    for (const { attributes } of updates) {
      const name = Object.keys(attributes).find((one) => !Object.hasOwn(this.#schema, one));
      if (name === undefined) continue;
      const expected = `one of ${Object.keys(this.#schema).join(', ')}`;
      throw new EspalierError('ESP_ATTRIBUTE_NOT_FOUND', `the catalog has no attribute ${describe(name)}`, {
        details: [{ field: name, expected, found: name }],
      });
    }
    const { snapshot, unknown } = this.#snapshot.withUpdated(updates);
    this.#snapshot = snapshot;
    this.#journal?.push({ kind: 'update', updates });
    return unknown;
  }

  /**
   * Adds items; they are there when the promise is fulfilled. Removed items leave the version for good.
   * @throws EspalierError ESP_UPLOAD_INVALID where an id is there already, ESP_CANCELLED; nothing changes.
   */
  add(items: readonly ParsedItem[], options: BuildOptions = {}): Promise<void> {
    const build = this.#builds.then(() => this.#rebuild(items, options));
    this.#builds = build.catch(() => {});
    return build;
  }

  async #rebuild(items: readonly ParsedItem[], options: BuildOptions): Promise<void> {
    const journal: Change[] = [];
    this.#journal = journal;
    try {
      const version = await rebuilt(this.#snapshot, items, options);
      // From here on nothing waits: no change can come between the journal's end and the switch.
      let next = CatalogSnapshot.of(version, this.#schema);
      for (const change of journal) {
        next =
          change.kind === 'remove'
            ? next.withRemoved(change.ids).snapshot
            : next.withUpdated(change.updates).snapshot;
      }
      for (const [name, { truth, nowMs }] of this.#snapshot.sets) next = next.withSet(name, truth, nowMs);
      this.#snapshot = next;
    } finally {
      this.#journal = null;
    }
  }
}

/** The snapshot's items that were not removed, with their values as they are now, and the new ones. */
async function rebuilt(
  snapshot: CatalogSnapshot,
  items: readonly ParsedItem[],
  options: BuildOptions,
): Promise<CatalogVersion> {
  const { version, schema } = snapshot;
  const names = Object.keys(schema);
  const { itemCount } = version.leafItems;
  const builder = new CatalogVersionBuilder(schema, version.trie.codebookSizes);
  for (let item = 0; item < itemCount; item++) {
    if (item % ITEMS_AT_A_TIME === 0) {
      options.onProgress?.('copying', item / itemCount);
      await setImmediate();
      if (options.signal?.aborted) throw new EspalierError('ESP_CANCELLED', 'the build was cancelled');
    }
    if (snapshot.isRemoved(item)) continue;
    const attributes = names.map((name) => snapshot.valueOf(name, item));
    builder.add({ id: version.ids.at(item), sid: Array.from(sidOf(version, item)), attributes }, 0);
  }
  for (const [index, item] of items.entries()) {
    if (builder.add(item, index + 1) === undefined) continue;
    const expected = 'an id that no other item has';
    throw new EspalierError(
      'ESP_UPLOAD_INVALID',
      `item ${index}: the catalog has an item ${describe(item.id)}`,
      {
        details: [{ field: 'id', expected, found: describe(item.id) }],
      },
    );
  }
  return builder.build(options);
}
