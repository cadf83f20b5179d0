import { EspalierError } from '../errors.js';
import { firstItemOf, type LeafItems, leafOfItem, type TrieArrays } from '../kernels/index.js';
import { wideRows } from './build.js';
import { type BuildOptions, buildTrie } from './build-trie.js';
import { type ColumnBuilder, createColumnBuilder } from './column-builder.js';
import type { AttributeSchema, Column, ColumnTable } from './columns.js';
import { GrowingArray } from './growing-array.js';
import { buildItemIds, type ItemIds } from './item-ids.js';
import type { ParsedItem } from './items/check-item.js';

import { StringTableBuilder } from './string-table.js';

/** Item numbers are u32, and so is their count in `leafItems`. */
const MAX_ITEMS = 2 ** 32 - 2;

/** One version of a catalog, immutable: its items by number, in the order (leaf rank, id). */
export interface CatalogVersion {
  trie: TrieArrays;
  leafItems: LeafItems;
  ids: ItemIds;
  table: ColumnTable;
}

/** The SID of item `item`; a view, not a copy. */
export function sidOf({ trie, leafItems }: CatalogVersion, item: number): Uint16Array | Uint32Array {
  const start = leafOfItem(leafItems, item) * trie.levelCount;
  return trie.rows.subarray(start, start + trie.levelCount);
}

/** The items on a leaf, in the order of their ids. @param leaf a leaf rank */
export function itemsOfLeaf({ leafItems }: CatalogVersion, leaf: number): number[] {
  const first = firstItemOf(leafItems, leaf);
  return Array.from({ length: firstItemOf(leafItems, leaf + 1) - first }, (_, index) => first + index);
}

/** Collects checked items and turns them into a catalog version, without a JS object for any of them. */
export class CatalogVersionBuilder {
  readonly #codebookSizes: readonly number[];
  readonly #columns: { name: string; builder: ColumnBuilder }[];
  #ids = new StringTableBuilder();
  /** The line of each id. */
  #lines = new GrowingArray(Uint32Array);
  #codes: GrowingArray<Uint16Array | Uint32Array>;
  #hasSurrogates = false;

  constructor(schema: AttributeSchema, codebookSizes: readonly number[]) {
    this.#codebookSizes = codebookSizes;
    this.#columns = Object.entries(schema).map(([name, { type }]) => ({
      name,
      builder: createColumnBuilder(type),
    }));
    this.#codes = newCodes(codebookSizes);
  }

  get itemCount(): number {
    return this.#ids.length;
  }

  /**
   * @returns the line that already has this id, or undefined when the item was added.
   * @throws EspalierError ESP_SHAPE where there are more items, or more text, than the arrays can number.
   */
  add({ id, sid, attributes }: ParsedItem, line: number): number | undefined {
    const row = this.#ids.length;
    const found = this.#ids.intern(id);
    if (found < row) return this.#lines.at(found);
    if (row >= MAX_ITEMS) throw new EspalierError('ESP_SHAPE', `a catalog has at most ${MAX_ITEMS} items`);
    this.#hasSurrogates ||= SURROGATE.test(id);
    this.#lines.push(line);
    this.#addSid(sid);
    for (let index = 0; index < this.#columns.length; index++) {
      this.#columns[index].builder.add(attributes[index]);
    }
    return undefined;
  }

  /** An array of u16 would keep a wrong code's lower bits. */
  #addSid(sid: readonly number[]): void {
    for (let level = 0; level < this.#codebookSizes.length; level++) {
      const size = this.#codebookSizes[level];
      if (!(sid[level] >= 0 && sid[level] < size)) {
        throw new EspalierError(
          'ESP_SHAPE',
          `level ${level}: code ${sid[level]} must be < codebook size ${size}`,
        );
      }
      this.#codes.push(sid[level]);
    }
  }

  /** To be called once: what was collected is given up as soon as the version has it. */
  async build(options: BuildOptions = {}): Promise<CatalogVersion> {
    const rowCount = this.#ids.length;
    const { trie, sortedRows, leafItems } = await buildTrie(
      { codebookSizes: this.#codebookSizes, rowCount, codes: this.#codes.view() },
      options,
    );
    this.#codes = newCodes(this.#codebookSizes);
    this.#lines = new GrowingArray(Uint32Array);
    this.#sortSharedLeavesById(sortedRows, leafItems);
    const strings = this.#ids.build(sortedRows);
    this.#ids = new StringTableBuilder();
    const ids = buildItemIds(strings);
    const columns = new Map<string, Column>();
    for (const { name, builder } of this.#columns.splice(0)) columns.set(name, builder.build(sortedRows));
    return { trie, leafItems, ids, table: { itemCount: rowCount, columns } };
  }

  /** Rows are sorted by leaf; on shared leaves the ids decide, so that the upload's order does not matter. */
  #sortSharedLeavesById(sortedRows: Uint32Array, leafItems: LeafItems): void {
    const ids = this.#ids;
    // UTF-8 bytes order texts as UTF-16 code units do, except where there are surrogates.
    const compare = this.#hasSurrogates
      ? (a: number, b: number) => compareCodeUnits(ids.at(a), ids.at(b))
      : (a: number, b: number) => ids.compare(a, b);
    for (const leaf of leafItems.sharedLeaves) {
      sortedRows.subarray(firstItemOf(leafItems, leaf), firstItemOf(leafItems, leaf + 1)).sort(compare);
    }
  }
}

const SURROGATE = /[\ud800-\udfff]/;

/** Orders strings by UTF-16 code units, as `<` does; never by locale. */
export function compareCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function newCodes(codebookSizes: readonly number[]): GrowingArray<Uint16Array | Uint32Array> {
  return new GrowingArray<Uint16Array | Uint32Array>(wideRows(codebookSizes) ? Uint32Array : Uint16Array);
}
