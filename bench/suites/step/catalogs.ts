import { isBitSet, type TrieArrays } from '../../../src/kernels/index.js';
import { type BuiltTrie, buildTrie } from '../../../src/static-trie/index.js';
import type { Idea, Structure } from '../../baselines/rival.js';
import { makeSids, type SidOptions, type SidShape } from '../sids.js';

/** The SIDs that a case is about. */
export interface CatalogOptions extends SidOptions {
  shape: SidShape;
}

/** SIDs, and what the rivals have built of them. */
export interface Catalog extends BuiltTrie {
  options: CatalogOptions;
}

/** The catalog of the case before: cases that follow each other share it, with all that was built for it. */
export class Catalogs {
  #latest: { key: string; catalog: Catalog } | undefined;

  async get(options: CatalogOptions): Promise<Catalog> {
    const key = JSON.stringify(options);
    if (this.#latest?.key !== key) {
      // Given back before the next is built: two do not fit.
      this.#latest = undefined;
      const { shape, rowCount, codebookSize, levels } = options;
      const codebookSizes = new Array<number>(levels).fill(codebookSize);
      const rows = { codebookSizes, rowCount, codes: makeSids(shape, options) };
      this.#latest = { key, catalog: { ...(await buildTrie(rows, { threads: 2 })), options } };
    }
    return this.#latest!.catalog;
  }

  clear(): void {
    this.#latest = undefined;
  }
}

/** A trie of some leaves' own: what there is without sets. @param leafBits [leafCount] bits */
export async function dedicatedTrie(trie: TrieArrays, leafBits: Uint32Array): Promise<TrieArrays> {
  const { rows, levelCount, codebookSizes, leafCount } = trie;
  let rowCount = 0;
  for (let leaf = 0; leaf < leafCount; leaf++) if (isBitSet(leafBits, leaf)) rowCount++;
  const codes = new (rows instanceof Uint16Array ? Uint16Array : Uint32Array)(rowCount * levelCount);
  let row = 0;
  for (let leaf = 0; leaf < leafCount; leaf++) {
    if (!isBitSet(leafBits, leaf)) continue;
    codes.set(rows.subarray(leaf * levelCount, (leaf + 1) * levelCount), row++ * levelCount);
  }
  return (await buildTrie({ codebookSizes, rowCount, codes }, { threads: 2 })).trie;
}

interface Built {
  structure: Structure;
  buildMs: number;
}

/** What ideas have built of each trie; ideas with one `build` share it. It goes with the trie. */
const structures = new WeakMap<TrieArrays, Map<Idea['build'], Built>>();

export async function structureOf(idea: Idea, trie: TrieArrays): Promise<Built> {
  let built = structures.get(trie);
  if (built === undefined) {
    built = new Map();
    structures.set(trie, built);
  }
  let found = built.get(idea.build);
  if (found === undefined) {
    const start = performance.now();
    const structure = await idea.build(trie);
    found = { structure, buildMs: performance.now() - start };
    built.set(idea.build, found);
  }
  return found;
}

/** Whether the structure is there already. */
export function hasStructure(idea: Idea, trie: TrieArrays): boolean {
  return structures.get(trie)?.has(idea.build) ?? false;
}
