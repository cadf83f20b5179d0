import type { RecommendQuery } from '../../decoder/index.js';
import type { KernelChoice, TrieArrays } from '../../kernels/index.js';
import { trieStats } from '../../static-trie/index.js';
import { seededRandom } from './random.js';

export interface FloorShape {
  trie: TrieArrays;
  vocabSize: number;
  queries: readonly RecommendQuery[];
}

/**
 * The logSumExp of a request's logits: what beam search without any constraint needs as well. Of random logits, and as
 * many rows as the beams can be.
 */
export class SoftmaxFloor {
  /** [levels] rows of each step. */
  readonly rows: readonly number[];
  readonly #ms: number[] = [];
  readonly #measure: () => void;

  private constructor(rows: readonly number[], measure: () => void) {
    this.rows = rows;
    this.#measure = measure;
  }

  /** null where steps run in js or on a GPU, or where requests differ in what they need. */
  static of(kernel: KernelChoice, { trie, vocabSize, queries }: FloorShape): SoftmaxFloor | null {
    const { logSumExpRows } = kernel;
    const [{ beamWidth }] = queries;
    const isSame = (query: RecommendQuery) =>
      String(query.beamWidth) === String(beamWidth) && query.normalize === 'vocabulary';
    if (logSumExpRows === null || kernel.device !== undefined || !queries.every(isSame)) return null;
    const { nodesPerLevel } = trieStats(trie);
    const rows = nodesPerLevel.map((_, level) => {
      if (level === 0) return 1;
      const width = typeof beamWidth === 'number' ? beamWidth : beamWidth[level - 1];
      return Math.min(width ?? 1, nodesPerLevel[level - 1]);
    });
    const random = seededRandom(1);
    const logits = Float32Array.from({ length: Math.max(...rows) * vocabSize }, () => random() * 8 - 4);
    const out = new Float32Array(Math.max(...rows));
    return new SoftmaxFloor(rows, () => {
      for (const count of rows) {
        logSumExpRows(logits.subarray(0, count * vocabSize), vocabSize, out.subarray(0, count));
      }
    });
  }

  measure(): void {
    const startMs = performance.now();
    this.#measure();
    this.#ms.push(performance.now() - startMs);
  }

  get ms(): readonly number[] {
    return this.#ms;
  }
}
