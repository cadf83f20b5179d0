import { EspalierError } from '../errors.js';
import { chooseKernel, type Kernel, type Normalization, type TrieArrays } from '../kernels/index.js';
import type { ConstraintSet, Exclusions } from '../static-trie/index.js';
import { BatchSearch } from './batch-search.js';
import type { Model } from './model.js';

/** One decode: what the model reads, and what it may answer. */
export interface DecodeInput {
  trie: TrieArrays;
  /** Which leaves are live; null, or absent: all. */
  set?: ConstraintSet | null;
  /** Prepared against `set`. */
  exclusions?: Exclusions | null;
  /** [1 or more] what the model reads. @see historyTokens */
  tokens: readonly number[];
  /** M, 1 to 1,024: one for all levels, or one for each. */
  beamWidth: number | readonly number[];
  /** Which tokens share the probability; by default the whole vocabulary. */
  normalize?: Normalization;
  /** Logits are divided by it; by default 1. */
  temperature?: number;
}

/** The beams that a decode ended on, best first; fewer than M where fewer leaves are live. */
export interface Decoded {
  /** [beams] leaf ranks: row numbers of `trie.rows`. */
  leaves: Uint32Array;
  /** [beams] sums of natural-log probabilities along the SIDs; -Infinity where one is too low for a float32. */
  scores: Float32Array;
  /** [beams] of levelCount codes each. */
  sids: number[][];
}

/**
 * Decodes semantic IDs with a model, under constraints: exact beam search, each step keeping the best live children.
 * One call of `decode` at a time; it keeps its buffers from call to call.
 * @see docs/decoding.md
 */
export class Decoder {
  readonly #model: Model;
  readonly #search: BatchSearch;

  /** @param kernel by default what `ESPALIER_KERNELS` names, or the best that runs here */
  constructor(model: Model, kernel: Kernel = chooseKernel()) {
    this.#model = model;
    this.#search = new BatchSearch(kernel);
  }

  /**
   * @param inputs decoded together; where the model does not batch histories of different lengths
   *   (`batchesRagged`), equally long ones.
   * @throws EspalierError ESP_SHAPE on a trie of other codebooks than the model's, or on beam widths that don't fit;
   *   ESP_MODEL_OUTPUT on NaN or +infinity among the logits.
   */
  async decode(inputs: readonly DecodeInput[]): Promise<Decoded[]> {
    if (inputs.length === 0) return [];
    const widths = inputs.map((input) => this.#beamWidthsOf(input));
    const prefills = await this.#model.prefill(inputs.map(({ tokens }) => tokens));
    const { results } = await this.#search.run(
      this.#model,
      inputs.map(({ trie, set, exclusions, normalize = 'vocabulary', temperature = 1 }, index) => ({
        constraint: { trie, live: set?.live ?? null, dead: exclusions?.dead ?? null },
        prefill: prefills[index],
        beamWidths: widths[index],
        normalize,
        temperature,
        fault: () => undefined,
      })),
    );
    return results.map((result, index) => {
      if (result instanceof EspalierError) throw result;
      const { rows, levelCount } = inputs[index].trie;
      const sids = Array.from(result.leaves, (leaf) =>
        Array.from(rows.subarray(leaf * levelCount, (leaf + 1) * levelCount)),
      );
      return { ...result, sids };
    });
  }

  #beamWidthsOf({ trie, beamWidth }: DecodeInput): readonly number[] {
    const { codebookSizes } = this.#model.manifest.sid;
    if (String(trie.codebookSizes) !== String(codebookSizes)) {
      const found = `[${trie.codebookSizes.join(', ')}]`;
      throw new EspalierError(
        'ESP_SHAPE',
        `the trie's codebooks must be the model's, [${codebookSizes.join(', ')}], found ${found}`,
      );
    }
    const levels = codebookSizes.length;
    const widths = typeof beamWidth === 'number' ? new Array<number>(levels).fill(beamWidth) : beamWidth;
    if (widths.length === levels && widths.every((width) => width >= 1 && width <= MAX_BEAM_WIDTH))
      return widths;
    const expected = `1 to ${MAX_BEAM_WIDTH}, for each of ${levels} levels`;
    throw new EspalierError('ESP_SHAPE', `beamWidth must be ${expected}, found [${widths.join(', ')}]`);
  }
}

const MAX_BEAM_WIDTH = 1024;
