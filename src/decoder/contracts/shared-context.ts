import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph, TensorValue } from '../onnx-graph.js';
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
import { takeLastPositions } from './logit-rows.js';
import { Scratch } from './scratch.js';
import { checkSharedContext, layersOf, type SharedLayer } from './shared-context-rules.js';
import { hasInput, wholeRows } from './token-inputs.js';

/**
 * The fast contract. `prefill` gives each history's keys and values once; in `step` a request's beams attend to
 * that context together, and each to the few tokens of its own. So no history is copied for a beam, and following
 * another parent moves no more than those few tokens.
 *
 * A batch is padded twice: contexts on the right, which `context_mask` hides, and requests with fewer beams than
 * the widest with beams that nobody reads.
 * @see docs/models.md, examples/export/shared_context.py
 */
export const sharedContextContract: Contract = {
  files: ['prefill', 'step'],
  check: ({ prefill, step }: Graphs): ErrorDetail[] => checkSharedContext(prefill, step),
  open: ({ prefill, step }) => new SharedContextRunner(prefill, step),
};

interface ContextPrefill extends Prefill {
  /** By context name: float32 [heads, length, headSize]. */
  readonly contexts: ReadonlyMap<string, Float32Array>;
}

class SharedContextRunner implements ModelRunner {
  readonly scratch = new Scratch();
  readonly layers: readonly SharedLayer[];
  readonly #prefill: OnnxGraph;
  readonly step: OnnxGraph;

  constructor(prefill: OnnxGraph, step: OnnxGraph) {
    this.#prefill = prefill;
    this.step = step;
    this.layers = layersOf(step);
  }

  prefill(histories: readonly (readonly number[])[]): Promise<ContextPrefill[]> {
    return inEqualLengths(histories, async (tokens, rows) => {
      const feeds = wholeRows(this.#prefill, this.scratch, tokens, rows);
      const names = ['logits', ...this.layers.map(({ context }) => context)];
      const outputs = await this.#prefill.run(feeds, new Map(names.map((name) => [name, null])));
      const lastLogits = takeLastPositions(outputs.get('logits')!);
      return Array.from({ length: rows }, (_, row): ContextPrefill => {
        const logits = lastLogits[row];
        let bytes = logits.byteLength;
        const contexts = new Map<string, Float32Array>();
        for (const { context } of this.layers) {
          const { data } = outputs.get(context)!;
          const size = data.length / rows;
          // Of a batch, each history keeps a copy of its own: a view would keep the whole batch in memory.
          contexts.set(context, rows === 1 ? data : data.slice(row * size, (row + 1) * size));
          bytes += size * Float32Array.BYTES_PER_ELEMENT;
        }
        return { logits, contexts, length: tokens.length / rows, bytes };
      });
    });
  }

  begin(prefills: readonly ContextPrefill[]): ModelDecoding {
    return new SharedContextDecoding(this, prefills);
  }
}

class SharedContextDecoding implements ModelDecoding {
  readonly #runner: SharedContextRunner;
  readonly #prefills: readonly ContextPrefill[];
  readonly #vocabSize: number;
  /** Requests in the batch's graph rows, in their order: those that had beams at the last step. */
  #active: readonly number[] = [];
  /** The contexts of the active requests and their mask, by input name. */
  #contextFeeds: ReadonlyMap<string, TensorValue> = new Map();
  /** By present name: float32 [active, widest, heads, steps, headSize] of the step before. */
  #presents: ReadonlyMap<string, TensorValue<Float32Array>> = new Map();
  /** [requests] of the step before, counted in graph rows times widest */
  #firstRows: Uint32Array;
  #steps = 0;

  constructor(runner: SharedContextRunner, prefills: readonly ContextPrefill[]) {
    this.#runner = runner;
    this.#prefills = prefills;
    this.#vocabSize = prefills[0].logits.length;
    this.#firstRows = new Uint32Array(prefills.length);
  }

  async advance(beams: StepBeams, isLast: boolean): Promise<StepLogits> {
    const { step, scratch, layers } = this.#runner;
    const { counts } = beams;
    const active = this.#prefills.flatMap((_, request) => (counts[request] > 0 ? [request] : []));
    if (!sameNumbers(active, this.#active)) this.#contextFeeds = this.#gatherContexts(active);
    this.#active = active;
    const widest = active.reduce((width, request) => Math.max(width, counts[request]), 0);
    const firstRows = new Uint32Array(counts.length);
    active.forEach((request, row) => {
      firstRows[request] = row * widest;
    });

    const feeds = new Map([...this.#contextFeeds, ...this.#tokenInputs(beams, firstRows, widest)]);
    const rows = [active.length, widest];
    const fetches = new Map([['logits', scratch.floats('logits', [...rows, this.#vocabSize])]]);
    for (const { past, present, heads, headSize } of layers) {
      const into = scratch.floats(past, [...rows, heads, this.#steps, headSize]);
      this.#copyPast(present, beams, firstRows, into.data, heads * this.#steps * headSize);
      feeds.set(past, into);
      if (!isLast) fetches.set(present, scratch.floats(present, [...rows, heads, this.#steps + 1, headSize]));
    }
    this.#presents = await step.run(feeds, fetches);
    this.#firstRows = firstRows;
    this.#steps++;
    return { data: this.#presents.get('logits')!.data, vocabSize: this.#vocabSize, firstRows };
  }

  /** Each beam's own tokens are its parent's; what padding beams hold is theirs, and finite. */
  #copyPast(
    present: string,
    { counts, parents }: StepBeams,
    firstRows: Uint32Array,
    into: Float32Array,
    size: number,
  ): void {
    if (size === 0) return;
    const { data } = this.#presents.get(present)!;
    let beam = 0;
    let end = 0;
    for (const request of this.#active) {
      const start = firstRows[request] * size;
      // Padding that an earlier request left unwritten could hold what no model made.
      if (start > end) into.fill(0, end, start);
      end = start;
      for (let index = 0; index < counts[request]; index++, beam++) {
        const from = (this.#firstRows[request] + parents[beam]) * size;
        into.set(data.subarray(from, from + size), end);
        end += size;
      }
    }
    into.fill(0, end);
  }

  /** `input_ids`, `position_ids` [active, widest]; padding beams repeat token 0. */
  #tokenInputs(
    { counts, tokens }: StepBeams,
    firstRows: Uint32Array,
    widest: number,
  ): Map<string, TensorValue> {
    const { step, scratch } = this.#runner;
    const dims = [this.#active.length, widest];
    const ids = scratch.integers('step input_ids', dims);
    ids.fill(0, 0, dims[0] * widest);
    const positions = scratch.integers('step position_ids', dims);
    let beam = 0;
    for (const request of this.#active) {
      const start = firstRows[request];
      ids.setAll(tokens.subarray(beam, beam + counts[request]), start);
      beam += counts[request];
      positions.fill(this.#prefills[request].length + this.#steps, start, start + widest);
    }
    const feeds = new Map<string, TensorValue>([['input_ids', ids]]);
    if (hasInput(step, 'position_ids')) feeds.set('position_ids', positions);
    return feeds;
  }

  /** [active, heads, longest, headSize] and the mask; one request's context is fed as it lies. */
  #gatherContexts(active: readonly number[]): Map<string, TensorValue> {
    const { step, scratch, layers } = this.#runner;
    const members = active.map((request) => this.#prefills[request]);
    const longest = members.reduce((length, member) => Math.max(length, member.length), 0);
    const feeds = new Map<string, TensorValue>();
    for (const { context, heads, headSize } of layers) {
      const dims = [members.length, heads, longest, headSize];
      if (members.length === 1) {
        feeds.set(context, { data: members[0].contexts.get(context)!, dims });
        continue;
      }
      const into = scratch.floats(context, dims);
      const padded = longest * headSize;
      members.forEach(({ contexts, length }, row) => {
        const own = length * headSize;
        for (let head = 0; head < heads; head++) {
          const start = (row * heads + head) * padded;
          into.data.set(contexts.get(context)!.subarray(head * own, (head + 1) * own), start);
          into.data.fill(0, start + own, start + padded);
        }
      });
      feeds.set(context, into);
    }
    if (hasInput(step, 'context_mask')) {
      const mask = scratch.integers('context_mask', [members.length, longest]);
      members.forEach(({ length }, row) => {
        mask.fill(1, row * longest, row * longest + length);
        mask.fill(0, row * longest + length, (row + 1) * longest);
      });
      feeds.set('context_mask', mask);
    }
    return feeds;
  }
}

function sameNumbers(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((value, index) => value === right[index]);
}
