import type { TrieArrays } from '../kernels/index.js';
import { buildStaticTrie } from './build.js';
import {
  type AttributeSchema,
  type AttributeValue,
  buildColumn,
  type Column,
  type ColumnTable,
} from './columns.js';
import type { ParsedItem } from './item-parser.js';
import { indexLeafItems, type LeafItems, leafOfItem } from './leaf-items.js';

/** One version of a catalog, immutable: its items by number, in the order (leaf rank, id). */
export interface CatalogVersion {
  trie: TrieArrays;
  leafItems: LeafItems;
  /** [itemCount] item ids. */
  ids: readonly string[];
  table: ColumnTable;
}

/** The SID of item `item`; a view, not a copy. */
export function sidOf({ trie, leafItems }: CatalogVersion, item: number): Uint16Array | Uint32Array {
  const start = leafOfItem(leafItems, item) * trie.levelCount;
  return trie.rows.subarray(start, start + trie.levelCount);
}

/** Collects checked items and turns them into a catalog version. */
export class CatalogVersionBuilder {
  readonly #schema: AttributeSchema;
  readonly #codebookSizes: readonly number[];
  readonly #ids: string[] = [];
  readonly #lineOfId = new Map<string, number>();
  readonly #values: (AttributeValue | undefined)[][];
  #codes: Uint32Array;

  constructor(schema: AttributeSchema, codebookSizes: readonly number[]) {
    this.#schema = schema;
    this.#codebookSizes = codebookSizes;
    this.#values = Object.keys(schema).map(() => []);
    this.#codes = new Uint32Array(1024 * codebookSizes.length);
  }

  get itemCount(): number {
    return this.#ids.length;
  }

  /** @returns the line that already has this id, or undefined when the item was added. */
  add(item: ParsedItem, line: number): number | undefined {
    const earlierLine = this.#lineOfId.get(item.id);
    if (earlierLine !== undefined) return earlierLine;
    this.#lineOfId.set(item.id, line);
    const start = this.#ids.length * this.#codebookSizes.length;
    if (start === this.#codes.length) {
      const larger = new Uint32Array(this.#codes.length * 2);
      larger.set(this.#codes);
      this.#codes = larger;
    }
    this.#codes.set(item.sid, start);
    this.#ids.push(item.id);
    item.attributes.forEach((value, index) => {
      this.#values[index].push(value);
    });
    return undefined;
  }

  build(): CatalogVersion {
    const rowCount = this.#ids.length;
    const codes = this.#codes.subarray(0, rowCount * this.#codebookSizes.length);
    const { trie, leafOfRow, sortedRows } = buildStaticTrie({
      codebookSizes: this.#codebookSizes,
      rowCount,
      codes,
    });
    this.#sortSharedLeavesById(sortedRows, leafOfRow);
    const leafItems = indexLeafItems(
      trie,
      sortedRows.map((row) => leafOfRow[row]),
    );
    const columns = new Map<string, Column>();
    Object.entries(this.#schema).forEach(([name, { type }], index) => {
      const values = this.#values[index];
      columns.set(
        name,
        buildColumn(
          type,
          Array.from(sortedRows, (row) => values[row]),
        ),
      );
    });
    return {
      trie,
      leafItems,
      ids: Array.from(sortedRows, (row) => this.#ids[row]),
      table: { itemCount: rowCount, columns },
    };
  }

  /** Rows are sorted by leaf; on shared leaves the ids decide, so that the upload's order does not matter. */
  #sortSharedLeavesById(sortedRows: Uint32Array, leafOfRow: Uint32Array): void {
    for (let start = 0; start < sortedRows.length; ) {
      let end = start + 1;
      while (end < sortedRows.length && leafOfRow[sortedRows[end]] === leafOfRow[sortedRows[start]]) end++;
      if (end - start > 1) {
        sortedRows.subarray(start, end).sort((a, b) => compareCodeUnits(this.#ids[a], this.#ids[b]));
      }
      start = end;
    }
  }
}

/** Orders strings by UTF-16 code units, as `<` does; never by locale. */
export function compareCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
