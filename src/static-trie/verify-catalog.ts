import { EspalierError } from '../errors.js';
import { firstItemOf, type LeafItems } from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import { buildItemIds, type ItemIds } from './item-ids.js';
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
    // After the offsets, which it reads by.
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

/** The column must be the one that the ids give; building it again reads them in their order, which is faster. */
function verifyHashColumn(ids: ItemIds): void {
  const { hashes, items } = buildItemIds(ids.strings, ids.seed);
  let runStart = 0;
  for (let index = 0; index < hashes.length; index++) {
    if (ids.hashes[index] !== hashes[index] || ids.items[index] !== items[index]) {
      throw corrupt(`hash column, entry ${index}: expected hash ${hashes[index]} of item ${items[index]}`);
    }
    if (hashes[index] !== hashes[runStart]) runStart = index;
    if (index - runStart === MAX_EQUAL_HASHES)
      throw corrupt(`hash column, entry ${index}: one hash too often`);
    for (let other = runStart; other < index; other++) {
      if (ids.at(items[other]) !== ids.at(items[index])) continue;
      throw corrupt(`items ${items[other]} and ${items[index]} must not have the same id`);
    }
  }
}

function verifySharedLeaves(leafItems: LeafItems, ids: ItemIds): void {
  const { leafCount, sharedLeaves, sharedStart } = leafItems;
  if (sharedStart[0] !== 0) throw corrupt(`sharedStart must begin with 0, not ${sharedStart[0]}`);
  for (let index = 0; index < sharedLeaves.length; index++) {
    const leaf = sharedLeaves[index];
    const isNext = leaf < leafCount && (index === 0 || leaf > sharedLeaves[index - 1]);
    if (!isNext)
      throw corrupt(`shared leaf ${leaf}: must come after the one before, and be one of ${leafCount}`);
    const items = sharedStart[index + 1] - sharedStart[index];
    if (items < 2) throw corrupt(`shared leaf ${leaf}: must have two items or more, not ${items}`);
  }
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
