import type { TrieArrays } from '../../../src/kernels/index.js';
import { type Node, narrow, type Rival } from '../../baselines/rival.js';
import { countItems, decodeAlone } from './own-decodes.js';

/*
 * What post-filtering leaves on the shelf. Random logits would leave nothing at all, which says little: a trained
 * model knows its catalog. So the model is simulated: codes that continue an item's SID get so much more logit that a
 * given share of the beams of an unconstrained decode are items, as published measurements of such models have it.
 * What it knows nothing of is the rule of the request.
 */

/** Between the 73 and 83 % of beams that are items where open-vocabulary engines serve such models. */
export const TRAINED_SHARE = 0.8;
const DECODES = 3;
const SHELF = 10;

export interface Shelf {
  /** Of k = 10 places, how many an allowed item fills. */
  filled: number;
  /** Of the beams, how many were items of the catalog. */
  items: number;
}

/** @param free an unconstrained rival over the catalog. @param allowed the SIDs that a request may get */
export function measureShelf(
  free: Rival,
  catalog: TrieArrays,
  allowed: TrieArrays,
  { beamWidth, vocabSize, logits }: { beamWidth: number; vocabSize: number; logits: Float32Array },
): Shelf {
  const rows = new Float32Array(logits.length);
  const decode = (margin: number, shift: number) =>
    decodeAlone(free, catalog.levelCount, beamWidth, (depth, prefixes) => {
      const offset = (shift * catalog.levelCount + depth) * 7919;
      for (let at = 0, from = offset % logits.length; at < prefixes.length * vocabSize; at++) {
        rows[at] = logits[from++];
        if (from === logits.length) from = 0;
      }
      prefixes.forEach((prefix, row) => {
        for (const code of childCodes(catalog, prefix)) rows[row * vocabSize + code] += margin;
      });
      return { logits: rows, vocabSize };
    });
  const shareOfItems = (margin: number) => {
    const decoded = decode(margin, 0);
    const beams = decoded.flatMap(({ sids }) => sids);
    return countItems(catalog, beams) / beams.length;
  };
  // The margin that makes the model so good, by halving.
  let [low, high] = [0, 32];
  for (let turn = 0; turn < 7; turn++) {
    const middle = (low + high) / 2;
    if (shareOfItems(middle) < TRAINED_SHARE) low = middle;
    else high = middle;
  }
  let [filled, items, beams, requests] = [0, 0, 0, 0];
  for (let decodes = 1; decodes <= DECODES; decodes++) {
    for (const { sids } of decode(high, decodes)) {
      filled += Math.min(SHELF, countItems(allowed, sids));
      items += countItems(catalog, sids);
      beams += sids.length;
      requests++;
    }
  }
  return { filled: filled / (SHELF * requests), items: items / beams };
}

/** The codes that continue a prefix; none where no item has it. */
function childCodes(trie: TrieArrays, prefix: readonly number[]): number[] {
  let range: Node = { lo: 0, hi: trie.leafCount };
  for (let level = 0; level < prefix.length && range.lo < range.hi; level++) {
    range = narrow(trie, level, range, prefix[level]);
  }
  const codes: number[] = [];
  for (let leaf = range.lo; leaf < range.hi; ) {
    const code = trie.rows[leaf * trie.levelCount + prefix.length];
    codes.push(code);
    leaf = narrow(trie, prefix.length, { lo: leaf, hi: range.hi }, code).hi;
  }
  return codes;
}
