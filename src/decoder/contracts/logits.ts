import type { OnnxGraph, TensorValue } from '../onnx-graph.js';
import type { Contract, ModelDecoding, ModelRunner, Prefill, StepBeams, StepLogits } from './contract.js';
import { inEqualLengths } from './equal-lengths.js';
import { lastPositions, takeLastPositions } from './logit-rows.js';
import { Scratch } from './scratch.js';
import { checkGraph, int64Rule, LOGITS_RULE } from './tensor-rules.js';
import { wholeRows } from './token-inputs.js';

/**
 * The plainest contract: `input_ids` int64 [rows, sequence] in, `logits` out, no cache. Every step reads each
 * beam from its beginning, so it serves small models, and as a check on the others. Rows of different lengths
 * run one length after the other: no padding, and no mask needed.
 */
export const logitsContract: Contract = {
  files: ['model'],
  check: ({ model }) =>
    checkGraph(
      model,
      [int64Rule('input_ids', true), int64Rule('attention_mask', false), int64Rule('position_ids', false)],
      [LOGITS_RULE],
    ),
  open: ({ model }) => new LogitsRunner(model),
};

interface LogitsPrefill extends Prefill {
  readonly tokens: Uint32Array;
}

class LogitsRunner implements ModelRunner {
  readonly scratch = new Scratch();
  readonly #graph: OnnxGraph;
  readonly #rank: number;

  constructor(graph: OnnxGraph) {
    this.#graph = graph;
    this.#rank = graph.outputs.find(({ name }) => name === 'logits')!.shape.length;
  }

  prefill(histories: readonly (readonly number[])[]): Promise<LogitsPrefill[]> {
    return inEqualLengths(histories, async (tokens, rows) => {
      const length = tokens.length / rows;
      const lastLogits = takeLastPositions(await this.run(tokens, rows, null));
      return lastLogits.map((logits, row) => {
        const own = tokens.slice(row * length, (row + 1) * length);
        return { logits, tokens: own, length, bytes: logits.byteLength + own.byteLength };
      });
    });
  }

  begin(prefills: readonly LogitsPrefill[]): ModelDecoding {
    return new LogitsDecoding(this, prefills);
  }

  /** @param vocabSize null where it is not known yet */
  async run(tokens: Uint32Array, rows: number, vocabSize: number | null): Promise<TensorValue<Float32Array>> {
    const feeds = wholeRows(this.#graph, this.scratch, tokens, rows);
    let into: TensorValue<Float32Array> | null = null;
    if (vocabSize !== null) {
      const length = tokens.length / rows;
      into = this.scratch.floats('logits', this.#rank === 2 ? [rows, vocabSize] : [rows, length, vocabSize]);
    }
    const outputs = await this.#graph.run(feeds, new Map([['logits', into]]));
    return outputs.get('logits')!;
  }
}

/** What a request's beams have read. */
interface Sequences {
  /** [beams, length] */
  tokens: Uint32Array;
  length: number;
}

class LogitsDecoding implements ModelDecoding {
  readonly #runner: LogitsRunner;
  readonly #vocabSize: number;
  readonly #requests: Sequences[];
  readonly #firstRows: Uint32Array;

  constructor(runner: LogitsRunner, prefills: readonly LogitsPrefill[]) {
    this.#runner = runner;
    this.#vocabSize = prefills[0].logits.length;
    this.#requests = prefills.map(({ tokens, length }) => ({ tokens, length }));
    this.#firstRows = new Uint32Array(prefills.length);
  }

  async advance({ counts, parents, tokens }: StepBeams): Promise<StepLogits> {
    let rows = 0;
    for (let request = 0; request < this.#requests.length; request++) {
      const end = rows + counts[request];
      this.#requests[request] = append(
        this.#requests[request],
        parents.subarray(rows, end),
        tokens.subarray(rows, end),
      );
      this.#firstRows[request] = rows;
      rows = end;
    }
    const { data } = this.#runner.scratch.floats('all logits', [rows, this.#vocabSize]);
    for (const length of new Set(this.#requests.map((request) => request.length))) {
      await this.#runLength(length, data);
    }
    return { data, vocabSize: this.#vocabSize, firstRows: this.#firstRows };
  }

  /** Runs the requests that have read so many tokens, and puts their logits where their rows are. */
  async #runLength(length: number, into: Float32Array): Promise<void> {
    const members = this.#requests
      .map((request, index) => ({ ...request, firstRow: this.#firstRows[index] }))
      .filter((request) => request.length === length && request.tokens.length > 0);
    const size = members.reduce((sum, { tokens }) => sum + tokens.length, 0);
    if (size === 0) return;
    const together = new Uint32Array(size);
    let start = 0;
    for (const { tokens } of members) {
      together.set(tokens, start);
      start += tokens.length;
    }
    const logits = await this.#runner.run(together, size / length, this.#vocabSize);
    const { data, vocabSize } = lastPositions(logits);
    let row = 0;
    for (const { tokens, firstRow } of members) {
      const end = row + tokens.length / length;
      into.set(data.subarray(row * vocabSize, end * vocabSize), firstRow * vocabSize);
      row = end;
    }
  }
}

function append(before: Sequences, parents: Uint32Array, tokens: Uint32Array): Sequences {
  const length = before.length + 1;
  const sequences = new Uint32Array(parents.length * length);
  for (let beam = 0; beam < parents.length; beam++) {
    const start = parents[beam] * before.length;
    sequences.set(before.tokens.subarray(start, start + before.length), beam * length);
    sequences[(beam + 1) * length - 1] = tokens[beam];
  }
  return { tokens: sequences, length };
}
