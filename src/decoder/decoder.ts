import { EspalierError } from '../errors.js';
import { chooseKernel, type Kernel } from '../kernels/index.js';
import { BatchSearch } from './batch-search.js';
import { type AskedDecode, checkDecodeInput, type DecodeInput } from './decode-input.js';
import type { Model } from './model.js';
import { firstLine } from './model-faults.js';

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
 * Calls wait for each other, and for those of other decoders of the same model: a model decodes one batch at a time.
 * @see docs/decoding.md
 */
export class Decoder {
  readonly #model: Model;
  readonly #search: BatchSearch;

  /** @param kernel by default what `ESPALIER_KERNELS` names, or the best that runs here */
  constructor(model: Model, kernel: Kernel = chooseKernel()) {
    this.#model = withTypedErrors(model);
    this.#search = new BatchSearch(kernel);
  }

  /**
   * @param inputs decoded together; where the model does not batch histories of different lengths
   *   (`batchesRagged`), equally long ones. They and what they hold are not to change until the decode has ended.
   * @throws EspalierError ESP_SHAPE on a trie of other codebooks than the model's, a set or exclusions of another trie,
   *   tokens that the model does not have, and widths, temperatures and normalizations that are none; ESP_MODEL_OUTPUT on
   *   NaN or +infinity among the logits; ESP_MODEL_MISFIT where the model fails as it runs, as on more tokens than it has
   *   positions for; ESP_MODEL_NOT_FOUND where it has been closed.
   */
  async decode(inputs: readonly DecodeInput[]): Promise<Decoded[]> {
    if (inputs.length === 0) return [];
    const asked = inputs.map((input, index) => checkDecodeInput(input, index, this.#model));
    return this.#model.inTurn(() => this.#decode(asked));
  }

  async #decode(asked: readonly AskedDecode[]): Promise<Decoded[]> {
    const prefills = await this.#model.prefill(asked.map(({ tokens }) => tokens));
    const { results } = await this.#search.run(
      this.#model,
      asked.map((one, index) => ({ ...one, prefill: prefills[index], fault: () => undefined })),
    );
    return results.map((result, index) => {
      if (result instanceof EspalierError) throw result;
      const { rows, levelCount } = asked[index].constraint.trie;
      const sids = Array.from(result.leaves, (leaf) =>
        Array.from(rows.subarray(leaf * levelCount, (leaf + 1) * levelCount)),
      );
      return { ...result, sids };
    });
  }
}

/** The model, whose failures name it and are typed. */
function withTypedErrors(model: Model): Model {
  const typed = async <Result>(run: () => Promise<Result>): Promise<Result> => {
    try {
      return await run();
    } catch (thrown) {
      if (thrown instanceof EspalierError) throw thrown;
      const message = `model ${model.manifest.name} failed as it ran: ${firstLine(thrown)}`;
      throw new EspalierError('ESP_MODEL_MISFIT', message, { cause: thrown });
    }
  };
  return {
    ...model,
    prefill: (histories) => typed(() => model.prefill(histories)),
    begin(prefills) {
      const decoding = model.begin(prefills);
      return { advance: (beams, isLast) => typed(() => decoding.advance(beams, isLast)) };
    },
  };
}
