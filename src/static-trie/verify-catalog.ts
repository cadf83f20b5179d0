import { EspalierError } from '../errors.js';
import { firstItemOf, type LeafItems } from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import type { ItemIds } from './item-ids.js';
import { hashBytes } from './string-table.js';
import { verifyColumn, verifyTexts } from './verify-columns.js';
import { verifyTrie } from './verify-trie.js';

/** Seeds are random: among 2^32 - 1 ids not even twenty have the same hash. More were made to be slow. */
const MAX_EQUAL_HASHES = 64;

/**
 * Checks that a catalog version means something, whoever wrote it. Reads every entry.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT with the first fault.
 */
export function verifyCatalogVersion(
  { trie, leafItems, ids, table }: CatalogVersion,
  onProgress: (fraction: number) => void,
): void {
  const checks = [
    () => verifyTrie(trie),
    () => verifyTexts('ids', ids.strings),
    () => verifyHashColumn(ids),
    () => verifySharedLeaves(leafItems, ids),
    ...[...table.columns].map(
      ([name, column]) =>
        () =>
          verifyColumn(`attribute ${name}`, column, table.itemCount),
    ),
  ];
  for (const [done, check] of checks.entries()) {
    check();
    onProgress((done + 1) / checks.length);
  }
}

/** Pairs of hash and item that ascend, each item with its hash: then every item is there, and once. */
function verifyHashColumn(ids: ItemIds): void {
  const { strings, hashes, items, seed } = ids;
  let runStart = 0;
  for (let index = 0; index < hashes.length; index++) {
    const hash = hashes[index];
    const item = items[index];
    if (item >= ids.length)
      throw corrupt(`hash column, entry ${index}: item ${item} must be < ${ids.length}`);
    if (hashBytes(strings.bytes, strings.offsets[item], strings.offsets[item + 1], seed) !== hash) {
      throw corrupt(`hash column, entry ${index}: expected the hash of item ${item}`);
    }
    if (index === 0) continue;
    if (hash !== hashes[index - 1]) {
      if (hash < hashes[index - 1]) throw corrupt(`hash column, entry ${index}: hashes must ascend`);
      runStart = index;
      continue;
    }
    if (item <= items[index - 1]) throw corrupt(`hash column, entry ${index}: items of one hash must ascend`);
    if (index - runStart === MAX_EQUAL_HASHES)
      throw corrupt(`hash column, entry ${index}: too many of one hash`);
    for (let other = runStart; other < index; other++) {
      if (ids.at(items[other]) === ids.at(item)) {
        throw corrupt(`items ${items[other]} and ${item} must not have the same id`);
      }
    }
  }
}

function verifySharedLeaves(leafItems: LeafItems, ids: ItemIds): void {
  for (const leaf of leafItems.sharedLeaves) {
    const first = firstItemOf(leafItems, leaf);
    const end = firstItemOf(leafItems, leaf + 1);
    for (let item = first + 1; item < end; item++) {
      if (ids.at(item - 1) >= ids.at(item))
        throw corrupt(`leaf ${leaf}: item ${item} must come after the one before`);
    }
  }
}

function corrupt(message: string): EspalierError {
  return new EspalierError('ESP_ARTIFACT_CORRUPT', `catalog version: ${message}`);
}
