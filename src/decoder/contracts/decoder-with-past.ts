import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph, TensorShape, TensorValue } from '../onnx-graph.js';
import {
  type Contract,
  checkTensors,
  int64,
  LOGITS_RULE,
  lastPositionLogits,
  type ModelDecoding,
  type StepLogits,
  type TensorRule,
} from './contract.js';

const PAST = /^past_key_values\.(\d+)\.(key|value)$/;

/**
 * A decoder with a cache, under the names that Optimum exports: `input_ids`, `attention_mask`,
 * `position_ids`, `past_key_values.{i}.key|value` [rows, heads, past, headSize] in; `logits`,
 * `present.{i}.key|value` out. One graph reads the history (with an empty past) and every step.
 * @see https://huggingface.co/docs/optimum (ONNX export, "text-generation-with-past")
 */
export const decoderWithPastContract: Contract = {
  check(graph: OnnxGraph): ErrorDetail[] {
    const pasts = pastInputs(graph);
    if (pasts.length === 0) {
      const found = graph.inputs.map(({ name }) => name).join(', ');
      return [{ field: 'past_key_values.0.key', expected: 'inputs past_key_values.{i}.key|value', found }];
    }
    const pastRules = pasts.map(({ name, shape }): TensorRule => {
      return {
        name,
        type: 'float32',
        shapes: [[null, fixed(shape[1]), null, fixed(shape[3])]],
        required: true,
      };
    });
    return [
      ...pasts.flatMap(checkPastShape),
      ...checkTensors('input', graph.inputs, [
        { name: 'input_ids', type: 'int64', shapes: [[null, null]], required: true },
        { name: 'attention_mask', type: 'int64', shapes: [[null, null]], required: false },
        { name: 'position_ids', type: 'int64', shapes: [[null, null]], required: false },
        ...pastRules,
      ]),
      ...checkTensors('output', graph.outputs, [
        LOGITS_RULE,
        ...pastRules.map((rule) => ({ ...rule, name: presentName(rule.name) })),
      ]),
    ];
  },
  open: (graph) => new DecoderWithPast(graph, scratchOf(graph)),
};

/** By input name: memory for gathered rows. */
type Scratch = Map<string, Float32Array>;

/**
 * Gathering rows for 50 beams fills megabytes at every step; fresh memory each time costs as much as the copy.
 * One set of buffers serves a graph, since it runs one decode at a time.
 */
const scratches = new WeakMap<OnnxGraph, Scratch>();

function scratchOf(graph: OnnxGraph): Scratch {
  const scratch = scratches.get(graph) ?? new Map<string, Float32Array>();
  scratches.set(graph, scratch);
  return scratch;
}

class DecoderWithPast implements ModelDecoding {
  readonly #graph: OnnxGraph;
  readonly #pasts: readonly TensorShape[];
  readonly #scratch: Scratch;
  /** By input name: what each beam has read, [beams, heads, length, headSize]. */
  #cache = new Map<string, TensorValue<Float32Array>>();
  #length = 0;

  constructor(graph: OnnxGraph, scratch: Scratch) {
    this.#graph = graph;
    this.#scratch = scratch;
    this.#pasts = pastInputs(graph);
  }

  start(tokens: readonly number[]): Promise<StepLogits> {
    for (const { name, shape } of this.#pasts) {
      const dims = [1, shape[1] as number, 0, shape[3] as number];
      this.#cache.set(name, { data: new Float32Array(0), dims });
    }
    this.#length = 0;
    return this.#run(tokens, 1, false);
  }

  advance(parentBeams: Uint32Array, tokens: Uint32Array, isLast: boolean): Promise<StepLogits> {
    for (const [name, tensor] of this.#cache)
      this.#cache.set(name, this.#gatherRows(name, tensor, parentBeams));
    return this.#run(tokens, parentBeams.length, isLast);
  }

  async #run(tokens: ArrayLike<number>, rows: number, isLast: boolean): Promise<StepLogits> {
    const newLength = tokens.length / rows;
    const total = this.#length + newLength;
    const feeds = new Map<string, TensorValue>(this.#cache);
    feeds.set('input_ids', int64(tokens, [rows, newLength]));
    if (this.#has('attention_mask')) {
      feeds.set('attention_mask', int64(new Uint8Array(rows * total).fill(1), [rows, total]));
    }
    if (this.#has('position_ids')) {
      const positions = Uint32Array.from(
        { length: rows * newLength },
        (_, index) => this.#length + (index % newLength),
      );
      feeds.set('position_ids', int64(positions, [rows, newLength]));
    }
    const presents = isLast ? [] : this.#pasts.map(({ name }) => presentName(name));
    const outputs = await this.#graph.run(feeds, ['logits', ...presents]);
    for (const { name } of this.#pasts) {
      if (!isLast) this.#cache.set(name, outputs.get(presentName(name))!);
    }
    this.#length = total;
    return lastPositionLogits(outputs.get('logits')!);
  }

  /** Row i of the result is row `rows[i]` of the tensor. Valid until the next step. */
  #gatherRows(
    name: string,
    { data, dims }: TensorValue<Float32Array>,
    rows: Uint32Array,
  ): TensorValue<Float32Array> {
    const rowSize = dims[1] * dims[2] * dims[3];
    let buffer = this.#scratch.get(name);
    if (buffer === undefined || buffer.length < rows.length * rowSize) {
      buffer = new Float32Array(rows.length * rowSize);
      this.#scratch.set(name, buffer);
    }
    for (let index = 0; index < rows.length; index++) {
      buffer.set(data.subarray(rows[index] * rowSize, (rows[index] + 1) * rowSize), index * rowSize);
    }
    return { data: buffer.subarray(0, rows.length * rowSize), dims: [rows.length, ...dims.slice(1)] };
  }

  #has(name: string): boolean {
    return this.#graph.inputs.some((input) => input.name === name);
  }
}

function pastInputs(graph: OnnxGraph): TensorShape[] {
  return graph.inputs.filter(({ name }) => PAST.test(name));
}

function presentName(pastName: string): string {
  return pastName.replace('past_key_values', 'present');
}

/** Heads and head size must be numbers: an empty past is made from them. */
function checkPastShape({ name, type, shape }: TensorShape): ErrorDetail[] {
  const fits = shape.length === 4 && typeof shape[1] === 'number' && typeof shape[3] === 'number';
  if (fits) return [];
  const expected = 'float32 [*, heads, *, headSize] with fixed heads and headSize';
  return [{ field: name, expected, found: `${type} [${shape.join(', ')}]` }];
}

function fixed(size: number | string | undefined): number | null {
  return typeof size === 'number' ? size : null;
}
