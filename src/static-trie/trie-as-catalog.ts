import { EspalierError } from '../errors.js';
import type { TrieArrays } from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import { buildItemIds } from './item-ids.js';
import { StringTable } from './string-table.js';

/** Offsets of ids are u32. */
const MAX_ID_BYTES = 2 ** 32 - 1;
const DASH = 0x2d;
const ZERO = 0x30;

/**
 * A trie alone as a catalog version: one item on each leaf, whose id is its SID as text, `17-203-9`; no attributes.
 * @throws EspalierError ESP_SHAPE where the ids would take more than 4 GiB
 */
export function catalogOfTrie(trie: TrieArrays): CatalogVersion {
  const { leafCount } = trie;
  return {
    trie,
    leafItems: {
      itemCount: leafCount,
      leafCount,
      sharedLeaves: new Uint32Array(0),
      sharedStart: new Uint32Array(1),
    },
    ids: buildItemIds(sidTexts(trie)),
    table: { itemCount: leafCount, columns: new Map() },
  };
}

/** Written digit by digit: there may be too many for a JS string of each. */
function sidTexts({ rows, leafCount, levelCount }: TrieArrays): StringTable {
  const offsets = new Uint32Array(leafCount + 1);
  let length = 0;
  for (let leaf = 0; leaf < leafCount; leaf++) {
    for (let at = leaf * levelCount; at < (leaf + 1) * levelCount; at++) length += digitsOf(rows[at]) + 1;
    // One dash fewer than codes.
    length--;
    if (length > MAX_ID_BYTES) {
      throw new EspalierError('ESP_SHAPE', `ids of ${leafCount} leaves: expected at most 4 GiB of text`);
    }
    offsets[leaf + 1] = length;
  }
  const bytes = new Uint8Array(length);
  for (let leaf = 0; leaf < leafCount; leaf++) {
    let end = offsets[leaf + 1];
    for (let level = levelCount - 1; level >= 0; level--) {
      let code = rows[leaf * levelCount + level];
      do {
        bytes[--end] = ZERO + (code % 10);
        code = Math.floor(code / 10);
      } while (code > 0);
      if (level > 0) bytes[--end] = DASH;
    }
  }
  return new StringTable(bytes, offsets);
}

function digitsOf(code: number): number {
  let digits = 1;
  for (let rest = code; rest >= 10; rest = Math.floor(rest / 10)) digits++;
  return digits;
}
