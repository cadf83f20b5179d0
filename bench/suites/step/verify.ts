import { createHash } from 'node:crypto';
import { jsStep, type StepBatch } from '../../../src/kernels/index.js';
import { ourRival } from '../../baselines/ours.js';
import { jsLogSumExp } from '../../baselines/request-rival.js';
import { type Agreement, leavesBelow, type Rival } from '../../baselines/rival.js';
import type { Places, RecordedDecodes } from './recorded-decodes.js';

/** What a rival found out to be, compared with the js kernel on recorded steps. */
export interface Verdict {
  /** The first thing that is wrong; undefined: it does what it says it does. */
  fault: string | undefined;
  /** Of the children that it chose, where they are clear. */
  hash: string;
  /** Of the best children, how many it has; and of its own, how many do not exist. */
  recall: number;
  falsePositives: number;
}

interface Winner {
  beam: number;
  code: number;
  score: number;
}

/** Kernels sum the same exponentials in another order. */
const NORMALIZER_TOLERANCE = 4e-6;
/** Scores that lie closer together may swap where the log-softmax differs in its last bits. */
const CLEAR_GAP = 1e-4;

/**
 * Compares a rival's winners with those of the js kernel that is given the rival's own normalizers: so scores, and the
 * order of winners, must be equal to the last bit.
 */
export class Verifier {
  readonly #decodes: RecordedDecodes;
  readonly #paths: number;
  readonly #reference: Rival;
  /** One beam more, to see by how much the last winner won. */
  readonly #wider: StepBatch;
  /** By path and depth: what was expected for which normalizers. */
  readonly #known = new Map<string, { normalizers: Float32Array; winners: Winner[][]; isClear: boolean }>();

  constructor(decodes: RecordedDecodes, paths: number) {
    this.#decodes = decodes;
    this.#paths = paths;
    const { constraints, beamWidth } = decodes.decoding;
    this.#reference = ourRival({ step: () => {} }, constraints, decodes.decoding);
    this.#wider = ourRival({ step: () => {} }, constraints, { beamWidth: beamWidth + 1 }).batch;
  }

  check(rival: Rival, places: readonly Places[][], agreement: Agreement): Verdict {
    const hash = createHash('sha256');
    const verdict: Verdict = { fault: undefined, hash: '', recall: 0, falsePositives: 0 };
    const totals = { expected: 0, found: 0, kept: 0, false: 0 };
    for (let path = 0; path < this.#paths; path++) {
      for (let depth = 0; depth < this.#decodes.levels; depth++) {
        const rows = this.#decodes.load(rival, places, path, depth);
        rival.step(this.#decodes.input(depth, path * this.#decodes.levels + depth));
        const at = `path ${path}, step ${depth}`;
        verdict.fault ??= this.#normalizerFault(rival, path, depth, rows, at);
        if (agreement === 'none') continue;
        const { winners: expected, isClear } = this.#expect(rival.batch.normalizers, path, depth, rows);
        const found = winnersOf(rival.batch);
        found.forEach((winners, request) => {
          const exists = (winner: Winner) => this.#exists(path, depth, request, winner);
          verdict.fault ??= compare(
            winners,
            expected[request],
            agreement,
            exists,
            `${at}, request ${request}`,
          );
          const wanted = new Set(expected[request].map(({ beam, code }) => `${beam} ${code}`));
          totals.expected += wanted.size;
          totals.kept += winners.length;
          totals.found += winners.filter(({ beam, code }) => wanted.has(`${beam} ${code}`)).length;
          if (agreement === 'superset') totals.false += winners.filter((winner) => !exists(winner)).length;
        });
        if (isClear)
          hash.update(JSON.stringify(found.map((one) => one.map(({ beam, code }) => [beam, code]))));
      }
    }
    verdict.hash = agreement === 'none' ? '' : hash.digest('hex').slice(0, 16);
    verdict.recall = totals.expected === 0 ? 1 : totals.found / totals.expected;
    verdict.falsePositives = totals.kept === 0 ? 0 : totals.false / totals.kept;
    return verdict;
  }

  /** Whether a beam's child is an item's prefix that this request may reach. */
  #exists(path: number, depth: number, request: number, { beam, code }: Winner): boolean {
    const first = this.#reference.batch.firstRows[request];
    const { trie } = this.#decodes.decoding.constraints[request];
    const { lo, hi } = leavesBelow(trie, [...this.#decodes.prefix(path, depth, first + beam), code]);
    return lo < hi;
  }

  #expect(normalizers: Float32Array, path: number, depth: number, rows: number) {
    const key = `${path} ${depth}`;
    const used = normalizers.slice(0, rows);
    const known = this.#known.get(key);
    const input = this.#decodes.input(depth, path * this.#decodes.levels + depth);
    const places = this.#decodes.placesOf(this.#reference, true);
    this.#decodes.load(this.#reference, places, path, depth);
    if (known !== undefined && Buffer.compare(bytesOf(known.normalizers), bytesOf(used)) === 0) return known;
    jsStep(this.#reference.batch, input, used);
    // Whoever came first says which steps are clear.
    const isClear = known?.isClear ?? this.#isClear(path, depth, used);
    const expected = { normalizers: used, winners: winnersOf(this.#reference.batch), isClear };
    if (known === undefined) this.#known.set(key, expected);
    return expected;
  }

  #isClear(path: number, depth: number, normalizers: Float32Array): boolean {
    const { batch } = this.#reference;
    for (const name of ['beamCounts', 'firstRows', 'scores', 'nodeLo', 'nodeHi'] as const) {
      this.#wider[name].set(batch[name]);
    }
    const input = this.#decodes.input(depth, path * this.#decodes.levels + depth);
    jsStep(this.#wider, input, normalizers);
    return winnersOf(this.#wider).every((winners) =>
      winners.every(({ score }, rank) => rank === 0 || winners[rank - 1].score - score > CLEAR_GAP),
    );
  }

  #normalizerFault(
    { batch }: Rival,
    path: number,
    depth: number,
    rows: number,
    at: string,
  ): string | undefined {
    const { logits, vocabSize } = this.#decodes.input(depth, path * this.#decodes.levels + depth);
    // A few rows of each step: in JavaScript all of them take seconds where vocabularies are large.
    for (const row of new Set([0, rows >>> 1, rows - 1])) {
      const expected = new Float32Array(1);
      const start = row * vocabSize;
      jsLogSumExp((logits as Float32Array).subarray(start, start + vocabSize), vocabSize, expected);
      const found = batch.normalizers[row];
      if (!(Math.abs(found - expected[0]) <= NORMALIZER_TOLERANCE * Math.max(1, Math.abs(expected[0])))) {
        return `${at}: the logSumExp of row ${row} is ${found}, expected ${expected[0]}`;
      }
    }
    return undefined;
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function winnersOf(batch: StepBatch): Winner[][] {
  let child = 0;
  return Array.from({ length: batch.requestCount }, (_, request) => {
    const first = child;
    child += batch.beamWidths[request];
    return Array.from({ length: batch.counts[request] }, (_, rank) => ({
      beam: batch.parentBeams[first + rank],
      code: batch.codes[first + rank],
      score: batch.childScores[first + rank],
    }));
  });
}

function compare(
  found: readonly Winner[],
  expected: readonly Winner[],
  agreement: Agreement,
  exists: (winner: Winner) => boolean,
  at: string,
): string | undefined {
  if (agreement === 'exact') return difference(found, expected, at);
  // The best that exist are among its winners, as far down as these go.
  if (agreement === 'superset') {
    const real = found.filter(exists);
    return difference(real, expected.slice(0, real.length), at);
  }
  const unreal = found.find((winner) => !exists(winner));
  if (unreal) return `${at}: kept ${shown(unreal)}, which does not exist`;
  const bySlot = new Map(expected.map((winner) => [`${winner.beam} ${winner.code}`, winner.score]));
  const misscored = found.find(({ beam, code, score }) => (bySlot.get(`${beam} ${code}`) ?? score) !== score);
  return misscored && `${at}: kept ${shown(misscored)}, expected another score`;
}

function difference(found: readonly Winner[], expected: readonly Winner[], at: string): string | undefined {
  for (let rank = 0; rank < Math.max(found.length, expected.length); rank++) {
    const isSame =
      found[rank]?.beam === expected[rank]?.beam &&
      found[rank]?.code === expected[rank]?.code &&
      found[rank]?.score === expected[rank]?.score;
    if (!isSame) return `${at}: rank ${rank} is ${shown(found[rank])}, expected ${shown(expected[rank])}`;
  }
  return undefined;
}

function shown(winner: Winner | undefined): string {
  return winner === undefined ? 'nothing' : `code ${winner.code} of beam ${winner.beam} with ${winner.score}`;
}
