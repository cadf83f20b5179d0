import type { OnnxGraph } from '../onnx-graph.js';
import {
  type Contract,
  checkTensors,
  int64,
  LOGITS_RULE,
  lastPositionLogits,
  type ModelDecoding,
  type StepLogits,
} from './contract.js';

/**
 * The plainest contract: `input_ids` int64 [rows, sequence] in, `logits` out, no cache. Every step reads each
 * beam from its beginning, so it serves small models, and as a check on the others.
 */
export const logitsContract: Contract = {
  check: (graph) => [
    ...checkTensors('input', graph.inputs, [
      { name: 'input_ids', type: 'int64', shapes: [[null, null]], required: true },
      { name: 'attention_mask', type: 'int64', shapes: [[null, null]], required: false },
      { name: 'position_ids', type: 'int64', shapes: [[null, null]], required: false },
    ]),
    ...checkTensors('output', graph.outputs, [LOGITS_RULE]),
  ],
  open: (graph) => new LogitsDecoding(graph),
};

class LogitsDecoding implements ModelDecoding {
  readonly #graph: OnnxGraph;
  /** [beams, length] tokens read so far. */
  #sequences: Uint32Array = new Uint32Array(0);
  #length = 0;

  constructor(graph: OnnxGraph) {
    this.#graph = graph;
  }

  start(tokens: readonly number[]): Promise<StepLogits> {
    this.#sequences = Uint32Array.from(tokens);
    this.#length = tokens.length;
    return this.#run(1);
  }

  advance(parentBeams: Uint32Array, tokens: Uint32Array): Promise<StepLogits> {
    const length = this.#length + 1;
    const sequences = new Uint32Array(parentBeams.length * length);
    parentBeams.forEach((parent, beam) => {
      const start = parent * this.#length;
      sequences.set(this.#sequences.subarray(start, start + this.#length), beam * length);
      sequences[(beam + 1) * length - 1] = tokens[beam];
    });
    this.#sequences = sequences;
    this.#length = length;
    return this.#run(parentBeams.length);
  }

  async #run(rows: number): Promise<StepLogits> {
    const dims = [rows, this.#length];
    const count = rows * this.#length;
    const feeds = new Map([['input_ids', int64(this.#sequences, dims)]]);
    if (this.#has('attention_mask')) feeds.set('attention_mask', int64(new Uint8Array(count).fill(1), dims));
    if (this.#has('position_ids')) {
      feeds.set(
        'position_ids',
        int64(
          Uint32Array.from({ length: count }, (_, i) => i % this.#length),
          dims,
        ),
      );
    }
    const outputs = await this.#graph.run(feeds, ['logits']);
    return lastPositionLogits(outputs.get('logits')!);
  }

  #has(name: string): boolean {
    return this.#graph.inputs.some((input) => input.name === name);
  }
}
