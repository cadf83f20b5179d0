import type { OnnxGraph, TensorValue } from '../onnx-graph.js';
import { copyRows, firstRowsOf, totalOf } from './beam-rows.js';
import type {
  Contract,
  Graphs,
  ModelDecoding,
  ModelRunner,
  Prefill,
  SpecialTokens,
  StepBeams,
  StepLogits,
} from './contract.js';
import { checkEncoderDecoder, crossTensors, selfTensors } from './encoder-decoder-rules.js';
import { inEqualLengths } from './equal-lengths.js';
import { lastPositions, takeLastPositions } from './logit-rows.js';
import type { PastTensor } from './past-tensors.js';
import { Scratch } from './scratch.js';
import { hasInput, wholeRows } from './token-inputs.js';

/**
 * An encoder that reads the history and a decoder that writes the semantic ID, in the three files that Optimum
 * exports of T5 and its like. The decoder begins with the manifest's `decoderStart`.
 *
 * Histories of different lengths share a batch padded on the right, which `encoder_attention_mask` hides. What the
 * decoder itself has read is equally long everywhere.
 */
export const encoderDecoderContract: Contract = {
  files: ['encoder', 'decoder', 'decoderWithPast'],
  check: checkEncoderDecoder,
  open: (graphs: Graphs, tokens: SpecialTokens) => new EncoderDecoderRunner(graphs, tokens.decoderStart!),
};

const HIDDEN = 'encoder_hidden_states';
const MASK = 'encoder_attention_mask';

interface EncodedPrefill extends Prefill {
  /** By past name: float32 [heads, 1, headSize] of the decoder's start, [heads, length, headSize] of the encoder. */
  readonly pasts: ReadonlyMap<string, Float32Array>;
  /** float32 [length, width], where decoderWithPast asks for it. */
  readonly hidden: Float32Array | null;
}

class EncoderDecoderRunner implements ModelRunner {
  readonly scratch = new Scratch();
  readonly withPast: OnnxGraph;
  readonly self: readonly PastTensor[];
  readonly cross: readonly PastTensor[];
  readonly logitsRank: number;
  readonly #encoder: OnnxGraph;
  readonly #decoder: OnnxGraph;
  readonly #start: number;

  constructor({ encoder, decoder, decoderWithPast }: Graphs, start: number) {
    this.#encoder = encoder;
    this.#decoder = decoder;
    this.withPast = decoderWithPast;
    this.#start = start;
    this.self = selfTensors(decoderWithPast);
    this.cross = crossTensors(decoderWithPast);
    this.logitsRank = decoderWithPast.outputs.find(({ name }) => name === 'logits')!.shape.length;
  }

  prefill(histories: readonly (readonly number[])[]): Promise<EncodedPrefill[]> {
    return inEqualLengths(histories, async (tokens, rows) => {
      const length = tokens.length / rows;
      const encoded = await this.#encoder.run(
        wholeRows(this.#encoder, this.scratch, tokens, rows),
        new Map([['last_hidden_state', null]]),
      );
      const hidden = encoded.get('last_hidden_state')!;
      const ids = this.scratch.integers('start', [rows, 1]);
      ids.fill(this.#start, 0, rows);
      const feeds = new Map<string, TensorValue>([
        ['input_ids', ids],
        [HIDDEN, hidden],
      ]);
      if (hasInput(this.#decoder, MASK)) {
        const mask = this.scratch.integers('start mask', [rows, length]);
        mask.fill(1, 0, rows * length);
        feeds.set(MASK, mask);
      }
      const kept = [...this.self, ...this.cross];
      const names = ['logits', ...kept.map(({ presentName }) => presentName)];
      const outputs = await this.#decoder.run(feeds, new Map(names.map((name) => [name, null])));
      const lastLogits = takeLastPositions(outputs.get('logits')!);
      const keepsHidden = hasInput(this.withPast, HIDDEN);
      return Array.from({ length: rows }, (_, row): EncodedPrefill => {
        const logits = lastLogits[row];
        const pasts = new Map(
          kept.map(({ pastName, presentName }) => [
            pastName,
            rowOf(outputs.get(presentName)!.data, row, rows),
          ]),
        );
        const own = keepsHidden ? rowOf(hidden.data, row, rows) : null;
        let bytes = logits.byteLength + (own?.byteLength ?? 0);
        for (const past of pasts.values()) bytes += past.byteLength;
        return { logits, pasts, hidden: own, length, bytes };
      });
    });
  }

  begin(prefills: readonly EncodedPrefill[]): ModelDecoding {
    return new EncoderDecoderDecoding(this, prefills);
  }
}

class EncoderDecoderDecoding implements ModelDecoding {
  readonly #runner: EncoderDecoderRunner;
  readonly #prefills: readonly EncodedPrefill[];
  readonly #vocabSize: number;
  readonly #longest: number;
  /** What the encoder read, by input name, for rows as `#encodedCounts` has them. */
  #encodedFeeds: ReadonlyMap<string, TensorValue> = new Map();
  #encodedCounts = new Uint32Array(0);
  /** By present name, after the first step: float32 [rows, heads, 1 + steps, headSize]. */
  #presents: ReadonlyMap<string, TensorValue<Float32Array>> | null = null;
  #firstRows: Uint32Array;
  #steps = 0;

  constructor(runner: EncoderDecoderRunner, prefills: readonly EncodedPrefill[]) {
    this.#runner = runner;
    this.#prefills = prefills;
    this.#vocabSize = prefills[0].logits.length;
    this.#longest = prefills.reduce((longest, { length }) => Math.max(longest, length), 0);
    this.#firstRows = new Uint32Array(prefills.length);
  }

  async advance({ counts, parents, tokens }: StepBeams, isLast: boolean): Promise<StepLogits> {
    const { withPast, scratch, self, logitsRank } = this.#runner;
    const firstRows = firstRowsOf(counts);
    const rows = totalOf(counts);
    if (!sameCounts(counts, this.#encodedCounts)) {
      this.#encodedFeeds = this.#spreadEncoded(counts, rows);
      this.#encodedCounts = counts.slice();
    }
    const ids = scratch.integers('input_ids', [rows, 1]);
    ids.setAll(tokens.subarray(0, rows));
    const feeds = new Map<string, TensorValue>(this.#encodedFeeds);
    feeds.set('input_ids', ids);
    const dims = logitsRank === 2 ? [rows, this.#vocabSize] : [rows, 1, this.#vocabSize];
    const fetches = new Map([['logits', scratch.floats('logits', dims)]]);
    const length = 1 + this.#steps;
    for (const { pastName, presentName, heads, headSize } of self) {
      const into = scratch.floats(pastName, [rows, heads, length, headSize]);
      if (this.#presents === null) this.#spread(pastName, counts, into.data);
      else copyRows(this.#presents.get(presentName)!, this.#firstRows, counts, parents, into.data);
      feeds.set(pastName, into);
      if (!isLast) fetches.set(presentName, scratch.floats(presentName, [rows, heads, length + 1, headSize]));
    }
    this.#presents = await withPast.run(feeds, fetches);
    this.#firstRows = firstRows;
    this.#steps++;
    return { ...lastPositions(this.#presents.get('logits')!), firstRows };
  }

  /** A request's past for each of its beams. */
  #spread(pastName: string, counts: Uint32Array, into: Float32Array): void {
    let start = 0;
    this.#prefills.forEach(({ pasts }, request) => {
      const past = pasts.get(pastName)!;
      for (let beam = 0; beam < counts[request]; beam++, start += past.length) into.set(past, start);
    });
  }

  /** What the encoder read, for each beam: padded with zeros on the right. */
  #spreadEncoded(counts: Uint32Array, rows: number): Map<string, TensorValue> {
    const { withPast, scratch, cross } = this.#runner;
    const longest = this.#longest;
    const feeds = new Map<string, TensorValue>();
    for (const { pastName, heads, headSize } of cross) {
      const into = scratch.floats(pastName, [rows, heads, longest, headSize]);
      this.#spreadPadded(counts, heads, headSize, ({ pasts }) => pasts.get(pastName)!, into.data);
      feeds.set(pastName, into);
    }
    if (hasInput(withPast, HIDDEN)) {
      const { hidden, length } = this.#prefills[0];
      const width = hidden!.length / length;
      const into = scratch.floats(HIDDEN, [rows, longest, width]);
      this.#spreadPadded(counts, 1, width, (prefill) => prefill.hidden!, into.data);
      feeds.set(HIDDEN, into);
    }
    if (hasInput(withPast, MASK)) {
      const mask = scratch.integers(MASK, [rows, longest]);
      let row = 0;
      this.#prefills.forEach(({ length }, request) => {
        for (const end = row + counts[request]; row < end; row++) {
          mask.fill(1, row * longest, row * longest + length);
          mask.fill(0, row * longest + length, (row + 1) * longest);
        }
      });
      feeds.set(MASK, mask);
    }
    return feeds;
  }

  /** Blocks of [length, size] values of each request, for each of its beams, as blocks of [longest, size]. */
  #spreadPadded(
    counts: Uint32Array,
    blocks: number,
    size: number,
    valuesOf: (prefill: EncodedPrefill) => Float32Array,
    into: Float32Array,
  ): void {
    const padded = this.#longest * size;
    let start = 0;
    this.#prefills.forEach((prefill, request) => {
      const values = valuesOf(prefill);
      const own = prefill.length * size;
      for (let block = 0; block < counts[request] * blocks; block++, start += padded) {
        const from = (block % blocks) * own;
        into.set(values.subarray(from, from + own), start);
        into.fill(0, start + own, start + padded);
      }
    });
  }
}

/** One row of a tensor, in memory of its own where there are several. */
function rowOf(data: Float32Array, row: number, rows: number): Float32Array {
  const size = data.length / rows;
  return rows === 1 ? data : data.slice(row * size, (row + 1) * size);
}

function sameCounts(left: Uint32Array, right: Uint32Array): boolean {
  return left.length === right.length && left.every((count, request) => count === right[request]);
}
