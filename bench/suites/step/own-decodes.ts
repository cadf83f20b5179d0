import type { StepInput, TrieArrays } from '../../../src/kernels/index.js';
import { leavesBelow, type Rival } from '../../baselines/rival.js';
import { numberRows } from './recorded-decodes.js';

/** What a decode led to, for each request. */
export interface Decoded {
  /** [beams] SIDs, best first. */
  sids: number[][];
}

/**
 * A whole decode in which a rival follows its own winners, wherever they lead.
 * @param logitsOf for the prefixes [rows] of all beams, one request after the other
 */
export function decodeAlone(
  rival: Rival,
  levels: number,
  beamWidth: number,
  logitsOf: (depth: number, prefixes: readonly (readonly number[])[]) => Omit<StepInput, 'depth' | 'tokens'>,
): Decoded[] {
  const { batch } = rival;
  const requests = batch.requestCount;
  let prefixes: number[][][] = Array.from({ length: requests }, () => [[]]);
  batch.beamCounts.fill(1);
  batch.scores.fill(0);
  for (let request = 0; request < requests; request++) {
    const { lo, hi } = rival.locate(request, new Uint32Array(0));
    batch.beamWidths[request] = beamWidth;
    batch.nodeLo[request] = lo;
    batch.nodeHi[request] = hi;
  }
  for (let depth = 0; depth < levels; depth++) {
    numberRows(batch);
    rival.step({ depth, tokens: { offset: 0 }, ...logitsOf(depth, prefixes.flat()) });
    let child = 0;
    prefixes = prefixes.map((parents, request) => {
      const first = child;
      child += batch.beamWidths[request];
      return Array.from({ length: batch.counts[request] }, (_, rank) => [
        ...parents[batch.parentBeams[first + rank]],
        batch.codes[first + rank],
      ]);
    });
    batch.advance(() => beamWidth);
  }
  return prefixes.map((sids) => ({ sids }));
}

/** How many of some SIDs exist. */
export function countItems(trie: TrieArrays, sids: readonly (readonly number[])[]): number {
  return sids.filter((sid) => {
    const { lo, hi } = leavesBelow(trie, sid);
    return lo < hi;
  }).length;
}
