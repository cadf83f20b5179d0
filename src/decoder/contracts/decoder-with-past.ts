import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph, TensorShape, TensorValue } from '../onnx-graph.js';
import { copyRows, firstRowsOf, totalOf } from './beam-rows.js';
import type {
  Contract,
  Graphs,
  ModelDecoding,
  ModelRunner,
  Prefill,
  StepBeams,
  StepLogits,
} from './contract.js';
import { inEqualLengths } from './equal-lengths.js';
import { lastPositions, takeLastPositions } from './logit-rows.js';
import { checkPastShape, type PastTensor, pastInputs, pastTensors } from './past-tensors.js';
import { type IntegerTensor, Scratch } from './scratch.js';
import { checkGraph, int64Rule, LOGITS_RULE, type TensorRule } from './tensor-rules.js';
import { hasInput, wholeRows } from './token-inputs.js';

const PAST = /^past_key_values\.\d+\.(key|value)$/;

/**
 * A decoder with a cache, under the names that Optimum exports: `input_ids`, `attention_mask`,
 * `position_ids`, `past_key_values.{i}.key|value` [rows, heads, past, headSize] in; `logits`,
 * `present.{i}.key|value` out. One graph reads the history (with an empty past) and every step.
 *
 * Histories of different lengths share a batch padded on the left, so that new tokens append: the mask is 0 on
 * the padding, and positions count from each history's own beginning.
 * @see https://huggingface.co/docs/optimum (ONNX export, "text-generation-with-past")
 */
export const decoderWithPastContract: Contract = {
  files: ['model'],
  check: ({ model }: Graphs): ErrorDetail[] => {
    const pasts = pastInputs(model, PAST);
    if (pasts.length === 0) {
      const found = model.inputs.map(({ name }) => name).join(', ');
      return [{ field: 'past_key_values.0.key', expected: 'inputs past_key_values.{i}.key|value', found }];
    }
    const shapeFaults = pasts.flatMap(checkPastShape);
    if (shapeFaults.length > 0) return shapeFaults;
    return checkGraph(
      model,
      [
        int64Rule('input_ids', true),
        int64Rule('attention_mask', false),
        int64Rule('position_ids', false),
        ...pasts.map(pastRule),
      ],
      [LOGITS_RULE, ...pasts.map(presentRule)],
    );
  },
  open: ({ model }) => new PastRunner(model),
};

function pastRule({ name, shape }: TensorShape): TensorRule {
  const [, heads, , headSize] = shape as number[];
  return { name, type: 'float32', shapes: [['dynamic', heads, 'dynamic', headSize]], required: true };
}

function presentRule({ name, shape }: TensorShape): TensorRule {
  const [, heads, , headSize] = shape as number[];
  return { name: presentName(name), type: 'float32', shapes: [['*', heads, '*', headSize]], required: true };
}

function presentName(pastName: string): string {
  return pastName.replace('past_key_values', 'present');
}

interface PastPrefill extends Prefill {
  /** By past name: float32 [heads, length, headSize]. */
  readonly caches: ReadonlyMap<string, Float32Array>;
}

class PastRunner implements ModelRunner {
  readonly graph: OnnxGraph;
  readonly pasts: readonly PastTensor[];
  readonly logitsRank: number;
  readonly scratch = new Scratch();

  constructor(graph: OnnxGraph) {
    this.graph = graph;
    this.pasts = pastTensors(graph, PAST, presentName);
    this.logitsRank = graph.outputs.find(({ name }) => name === 'logits')!.shape.length;
  }

  prefill(histories: readonly (readonly number[])[]): Promise<PastPrefill[]> {
    return inEqualLengths(histories, async (tokens, rows) => {
      const feeds = wholeRows(this.graph, this.scratch, tokens, rows);
      const fetches = new Map<string, null>([['logits', null]]);
      for (const { pastName, presentName, heads, headSize } of this.pasts) {
        feeds.set(pastName, { data: new Float32Array(0), dims: [rows, heads, 0, headSize] });
        fetches.set(presentName, null);
      }
      const outputs = await this.graph.run(feeds, fetches);
      const lastLogits = takeLastPositions(outputs.get('logits')!);
      return Array.from({ length: rows }, (_, row): PastPrefill => {
        const logits = lastLogits[row];
        let bytes = logits.byteLength;
        const caches = new Map<string, Float32Array>();
        for (const { pastName, presentName } of this.pasts) {
          const { data } = outputs.get(presentName)!;
          const size = data.length / rows;
          // Of a batch, each history keeps a copy of its own: a view would keep the whole batch in memory.
          caches.set(pastName, rows === 1 ? data : data.slice(row * size, (row + 1) * size));
          bytes += size * Float32Array.BYTES_PER_ELEMENT;
        }
        return { logits, caches, length: tokens.length / rows, bytes };
      });
    });
  }

  begin(prefills: readonly PastPrefill[]): ModelDecoding {
    return new PastDecoding(this, prefills);
  }
}

class PastDecoding implements ModelDecoding {
  readonly #runner: PastRunner;
  readonly #prefills: readonly PastPrefill[];
  readonly #vocabSize: number;
  readonly #longest: number;
  /** By past name, after the first step: float32 [rows, heads, longest + steps, headSize]. */
  #caches: ReadonlyMap<string, TensorValue<Float32Array>> | null = null;
  #steps = 0;
  /** [requests] of the step before */
  #firstRows: Uint32Array;

  constructor(runner: PastRunner, prefills: readonly PastPrefill[]) {
    this.#runner = runner;
    this.#prefills = prefills;
    this.#vocabSize = prefills[0].logits.length;
    this.#longest = Math.max(...prefills.map(({ length }) => length));
    this.#firstRows = new Uint32Array(prefills.length);
  }

  async advance({ counts, parents, tokens }: StepBeams, isLast: boolean): Promise<StepLogits> {
    const { graph, pasts, scratch, logitsRank } = this.#runner;
    const firstRows = firstRowsOf(counts);
    const rows = totalOf(counts);
    const past = this.#longest + this.#steps;
    const feeds = this.#tokenInputs(counts, firstRows, rows, tokens);
    const dims = logitsRank === 2 ? [rows, this.#vocabSize] : [rows, 1, this.#vocabSize];
    const fetches = new Map([['logits', scratch.floats('logits', dims)]]);
    for (const tensor of pasts) {
      const { pastName, presentName, heads, headSize } = tensor;
      const into = scratch.floats(pastName, [rows, heads, past, headSize]);
      if (this.#caches === null) this.#copyHistories(tensor, counts, into.data);
      else copyRows(this.#caches.get(presentName)!, this.#firstRows, counts, parents, into.data);
      feeds.set(pastName, into);
      if (!isLast) fetches.set(presentName, scratch.floats(presentName, [rows, heads, past + 1, headSize]));
    }
    const outputs = await graph.run(feeds, fetches);
    this.#caches = outputs;
    this.#firstRows = firstRows;
    this.#steps++;
    return { ...lastPositions(outputs.get('logits')!), firstRows };
  }

  /** `input_ids` [rows, 1]; the mask is 0 on the padding; a position counts from its history's beginning. */
  #tokenInputs(
    counts: Uint32Array,
    firstRows: Uint32Array,
    rows: number,
    tokens: Uint32Array,
  ): Map<string, TensorValue> {
    const { graph, scratch } = this.#runner;
    const total = this.#longest + this.#steps + 1;
    const feeds = new Map<string, TensorValue>();
    const ids = scratch.integers('input_ids', [rows, 1]);
    ids.setAll(tokens.subarray(0, rows));
    feeds.set('input_ids', ids);
    const mask = hasInput(graph, 'attention_mask') ? scratch.integers('attention_mask', [rows, total]) : null;
    const positions = hasInput(graph, 'position_ids') ? scratch.integers('position_ids', [rows, 1]) : null;
    this.#prefills.forEach(({ length }, request) => {
      for (let row = firstRows[request]; row < firstRows[request] + counts[request]; row++) {
        positions?.set(row, length + this.#steps);
        if (mask) fillMask(mask, row * total, this.#longest - length, total);
      }
    });
    if (mask) feeds.set('attention_mask', mask);
    if (positions) feeds.set('position_ids', positions);
    return feeds;
  }

  /** [rows, heads, longest, headSize]: each beam's history, padded with zeros on the left. */
  #copyHistories({ pastName, heads, headSize }: PastTensor, counts: Uint32Array, into: Float32Array): void {
    const padded = this.#longest * headSize;
    let start = 0;
    this.#prefills.forEach(({ caches, length }, request) => {
      const cache = caches.get(pastName)!;
      const own = length * headSize;
      for (let beam = 0; beam < counts[request]; beam++) {
        for (let head = 0; head < heads; head++) {
          into.fill(0, start, start + padded - own);
          into.set(cache.subarray(head * own, (head + 1) * own), start + padded - own);
          start += padded;
        }
      }
    });
  }
}

function fillMask(mask: IntegerTensor, start: number, padding: number, total: number): void {
  mask.fill(0, start, start + padding);
  mask.fill(1, start + padding, start + total);
}
