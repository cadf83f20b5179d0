import { seededRandom } from '../../../src/cli/bench/random.js';
import type { TrieArrays } from '../../../src/kernels/index.js';
import { arrayTrie } from '../../baselines/array-trie.js';
import { denseMask } from '../../baselines/dense-mask.js';
import { hashBitmap } from '../../baselines/hash-bitmap.js';
import { nestedMap } from '../../baselines/nested-map.js';
import { best, ourIdea } from '../../baselines/ours.js';
import type { Idea } from '../../baselines/rival.js';
import { ppvExact } from '../../baselines/sorted-sids.js';
import { staticCsr } from '../../baselines/static-csr.js';
import type { CaseContext, RivalResult } from '../../harness/types.js';
import { type Contestant, seat } from '../step/contest.js';
import { logitPool } from '../step/logits.js';
import { RecordedDecodes } from '../step/recorded-decodes.js';
import { Verifier } from '../step/verify.js';
import { measuredResult } from './measured.js';

/** Ours, and everybody who keeps a structure of the SIDs. */
const ideas = () => {
  const { name, kernel } = best();
  const rivals = [staticCsr, arrayTrie, ppvExact, nestedMap, hashBitmap, denseMask];
  return [ourIdea(name, kernel), ...(rivals as unknown as Idea[])];
};

const BEAMS = 20;

/**
 * Bytes an item of each structure of the same SIDs. All have decoded with it first, as they do where they are timed:
 * what is counted can do what it is for.
 * @param itemCount of the catalog, which may have more items than leaves
 */
export async function measureStructures(
  trie: TrieArrays,
  itemCount: number,
  mostBytes: number,
  { options, say, signal }: CaseContext,
): Promise<RivalResult[]> {
  const vocabSize = trie.codebookSizes[0];
  const seats = { tableOf: [0], beamWidth: BEAMS, vocabSize };
  const pool = logitPool(BEAMS * vocabSize, seededRandom(options.seed));
  const constraints = [{ trie, live: null, dead: null }];
  const decodes = new RecordedDecodes({ constraints, ...seats }, pool, 1);
  const verifier = new Verifier(decodes, 1);
  const results: RivalResult[] = [];
  for (const idea of ideas()) {
    signal.throwIfAborted();
    say(`building ${idea.name}`);
    // A copy of the trie's outside, with which the structure is given back: all of them together do not fit.
    const contestant = await seat(idea, [{ ...trie }], seats, mostBytes);
    results.push(judge(contestant, itemCount, decodes, verifier));
  }
  return results;
}

function judge(
  { name, kind, agreement, rival, skipped, extras }: Contestant,
  itemCount: number,
  decodes: RecordedDecodes,
  verifier: Verifier,
): RivalResult {
  if (rival === undefined)
    return { name, kind, status: 'skipped', reason: skipped ?? 'it does not run here' };
  const { fault, hash } = verifier.check(rival, decodes.placesOf(rival, true), agreement);
  const bytes = extras.bytes.value;
  return measuredResult({
    name,
    kind,
    isApproximate: agreement !== 'exact',
    unit: 'bytes/item',
    values: [bytes / itemCount],
    verdict: {
      hash,
      extras: { bytes: { value: bytes, unit: 'bytes' } },
      ...(fault !== undefined && { fault }),
    },
  });
}
