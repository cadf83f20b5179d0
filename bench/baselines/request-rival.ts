import {
  chooseKernel,
  StepBatch,
  type StepInput,
  type TrieArrays,
  usableLevels,
} from '../../src/kernels/index.js';
import { logSumExp } from '../../src/kernels/log-probs.js';
import { type BatchHandle, nativeRivals, type RivalHandle } from './native-rivals.js';
import type { Node, Rival, Seats } from './rival.js';

/** The logSumExp of rows of logits, [rows] into `out`. */
export type LogSumExpRows = (logits: Float32Array, vocabSize: number, out: Float32Array) => void;

/** In plain JavaScript. */
export const jsLogSumExp: LogSumExpRows = (logits, vocabSize, out) => {
  for (let row = 0; row < out.length; row++) {
    out[row] = logSumExp(logits.subarray(row * vocabSize, (row + 1) * vocabSize));
  }
};

/** The fastest there is here. Rivals are given it, so that they differ in how they constrain and in nothing else. */
export function fastestLogSumExp(threads = 1): LogSumExpRows {
  const best = usableLevels().at(-1);
  return (best && chooseKernel(best.name, threads).logSumExpRows) ?? jsLogSumExp;
}

/** A batch whose requests each decode under a table of their own, each with its one beam at leaf range [0, leaves). */
export function seatedBatch(sids: readonly TrieArrays[], { tableOf, beamWidth }: Seats): StepBatch {
  const batch = new StepBatch(tableOf.length, tableOf.length * beamWidth);
  batch.begin(
    tableOf.map((table) => ({
      constraint: { trie: sids[table], live: null, dead: null },
      beamWidth,
      normalize: 'vocabulary',
      temperature: 1,
    })),
  );
  return batch;
}

/** A rival that takes one request after the other: log-softmax, then its own part while the logits are in the cache. */
export abstract class RequestRival implements Rival {
  readonly batch: StepBatch;
  readonly numbering: Rival['numbering'] = 'its own';
  readonly tableOf: readonly number[];
  readonly #normalize: LogSumExpRows;

  constructor(sids: readonly TrieArrays[], seats: Seats, normalize = fastestLogSumExp()) {
    this.batch = seatedBatch(sids, seats);
    this.tableOf = seats.tableOf;
    this.#normalize = normalize;
  }

  abstract locate(request: number, prefix: Uint32Array): Node;

  /** @returns children kept, written from `firstChild` on */
  protected abstract choose(request: number, input: StepInput, firstBeam: number, firstChild: number): number;

  step(input: StepInput): void {
    const { batch } = this;
    const { vocabSize } = input;
    const logits = input.logits as Float32Array;
    let beam = 0;
    let child = 0;
    for (let request = 0; request < batch.requestCount; request++) {
      const beams = batch.beamCounts[request];
      const start = batch.firstRows[request] * vocabSize;
      // A request without beams is at its end.
      batch.counts[request] = 0;
      if (beams > 0) {
        const rows = logits.subarray(start, start + beams * vocabSize);
        this.#normalize(rows, vocabSize, batch.normalizers.subarray(beam, beam + beams));
        batch.counts[request] = this.choose(request, input, beam, child);
      }
      beam += beams;
      child += batch.beamWidths[request];
    }
  }
}

/** A rival whose own part is in C++. */
export class NativeRival extends RequestRival {
  readonly #addon = nativeRivals();
  readonly #batchHandle: BatchHandle;
  readonly #handles: readonly RivalHandle[];
  readonly #locate: (table: number, prefix: Uint32Array) => Node;

  /** @param handles of each table, and `locate` in each */
  constructor(
    sids: readonly TrieArrays[],
    seats: Seats,
    handles: readonly RivalHandle[],
    locate: (table: number, prefix: Uint32Array) => Node,
  ) {
    super(sids, seats);
    const { scores, nodeLo, nodeHi, normalizers, childScores, parentBeams, codes, childLo, childHi } =
      this.batch;
    const arrays = [scores, nodeLo, nodeHi, normalizers, childScores, parentBeams, codes, childLo, childHi];
    this.#batchHandle = this.#addon.bindBatch(arrays);
    this.#handles = handles;
    this.#locate = locate;
  }

  locate(request: number, prefix: Uint32Array): Node {
    return this.#locate(this.tableOf[request], prefix);
  }

  protected choose(request: number, input: StepInput, firstBeam: number, firstChild: number): number {
    const { batch } = this;
    return this.#addon.step(
      this.#handles[this.tableOf[request]],
      this.#batchHandle,
      input.logits as Float32Array,
      input.vocabSize,
      input.depth,
      batch.firstRows[request],
      firstBeam,
      batch.beamCounts[request],
      firstChild,
      batch.beamWidths[request],
    );
  }
}
