import { EspalierError } from '../../src/errors.js';
import type { TrieArrays } from '../../src/kernels/index.js';
import { planExport, type StaticCsr } from '../../src/static-trie/exchange/static-csr.js';
import { type DenseLookupLayers, exportStatic } from '../../src/static-trie/index.js';
import { nativeRivals } from './native-rivals.js';
import { NativeRival } from './request-rival.js';
import { type Idea, type Node, nodeCounts, type Structure } from './rival.js';

/*
 * STATIC as its paper lays it out (Vectorizing the Trie, arXiv 2602.22647): dense tables of masks
 * and states for the first two levels, and packed (code, next state) rows below, of which a step gathers as many for
 * each beam as the level's widest node has. The arrays are the reference implementation's own, byte for byte.
 *
 * Made fast for a CPU, in C++: the padding behind a node's own edges is not gathered; the dense tables' masks are
 * asked only where a logit can still win; all beams' rows are asked for before the first is read.
 */

interface Csr extends Structure {
  arrays: StaticCsr;
  maxBranches: Int32Array;
}

/** Two levels of tables need 5 bytes for each pair of tokens; beyond this one level is all that is affordable. */
const MAX_TABLE_BYTES = 2 ** 31;

function optionsFor({ codebookSizes, levelCount }: TrieArrays) {
  const vocabSize = Math.max(...codebookSizes);
  const isAffordable = 5 * vocabSize ** 2 <= MAX_TABLE_BYTES;
  const denseLookupLayers: DenseLookupLayers = isAffordable && levelCount > 2 ? 2 : 1;
  return { vocabSize, denseLookupLayers };
}

export const staticCsr: Idea<Csr> = {
  name: 'static-csr',
  kind: 'rival',
  agreement: 'exact',
  demand(sids) {
    try {
      const plan = planExport(sids.codebookSizes, nodeCounts(sids), optionsFor(sids));
      const rows = plan.edgeCount + optionsFor(sids).vocabSize;
      return { bytes: 8 * rows + 4 * (plan.stateCount + 2) + 5 * plan.denseEntries };
    } catch (thrown) {
      if (!(thrown instanceof EspalierError)) throw thrown;
      return { bytes: 0, refusal: thrown.message };
    }
  },
  build(sids) {
    const arrays = exportStatic(sids, optionsFor(sids));
    const { packedCsr, indptr, startMask, denseMask, denseStates } = arrays;
    const bytes = [packedCsr, indptr, startMask, denseMask, denseStates].reduce(
      (sum, { byteLength }) => sum + byteLength,
      0,
    );
    return { arrays, maxBranches: Int32Array.from(arrays.layerMaxBranches), bytes };
  },
  start(structures, sids, seats) {
    const handles = structures.map(({ arrays, maxBranches }) => {
      const { packedCsr, indptr, startMask, denseMask, denseStates, denseLookupLayers } = arrays;
      return nativeRivals().createRival(
        'static-csr',
        [packedCsr, indptr, startMask, denseMask, denseStates, maxBranches],
        [denseLookupLayers],
      );
    });
    return new NativeRival(sids, seats, handles, (table, prefix) => locate(structures[table], prefix));
  },
};

/** The state of a prefix, walked from edge to edge. */
function locate({ arrays }: Csr, prefix: Uint32Array): Node {
  const { packedCsr, indptr } = arrays;
  let state = prefix.length === 0 ? 0 : prefix[0] + 1;
  for (const code of prefix.subarray(1)) {
    let edge = indptr[state];
    const end = indptr[state + 1];
    while (edge < end && packedCsr[2 * edge] !== code) edge++;
    if (edge === end) throw new Error(`no state has the prefix ${prefix.join(' ')}`);
    state = packedCsr[2 * edge + 1];
  }
  return { lo: state, hi: 0 };
}
