import type { EspalierError } from '../errors.js';
import {
  badLogitError,
  type Constraint,
  type Kernel,
  type Normalization,
  StepBatch,
  tokenOf,
} from '../kernels/index.js';
import { BeamWatch } from './beam-watch.js';
import type { Prefill, StepBeams, StepLogits } from './contracts/contract.js';
import { type DecodeReport, newReport } from './decode-report.js';
import type { Model } from './model.js';

/** One request's part of a batch. */
export interface SearchRequest {
  constraint: Constraint;
  /** What the model made of the history. */
  prefill: Prefill;
  /** [levels] M of each step. */
  beamWidths: readonly number[];
  normalize: Normalization;
  temperature: number;
  /** Asked before each model run: why the request must leave the batch, or undefined. */
  fault(depth: number): EspalierError | undefined;
  /** Called after each step, before anything of it is overwritten. */
  onStep?: ((step: StepView) => void) | undefined;
}

/** A step that has just been made, as one of its requests sees it. Valid during the call. */
export interface StepView {
  depth: number;
  batch: StepBatch;
  request: number;
  /** Where the request's beams and children begin in the batch's arrays. */
  firstBeam: number;
  firstChild: number;
  logits: StepLogits;
}

/** The beams that a search ended on. */
export interface SearchResult {
  /** Leaf ranks, best first. */
  leaves: Uint32Array;
  /** [leaves.length] cumulative natural-log scores. */
  scores: Float32Array;
}

export interface BatchResult {
  /** In the requests' order: its beams, or why it has left the batch. */
  results: (SearchResult | EspalierError)[];
  /** Wall time of all model runs and of all steps. */
  modelMs: number;
  constraintMs: number;
}

const NOTHING: SearchResult = { leaves: new Uint32Array(0), scores: new Float32Array(0) };

/**
 * Exact constrained beam search over a batch of requests: each step keeps the best live children of all beams of a
 * request. Exact for each step, not exhaustive: an item whose prefix fell out of the beam is not found.
 *
 * Its buffers grow to the largest batch and are used again, so that a warm decode allocates no large array here.
 */
export class BatchSearch {
  readonly #kernel: Kernel;
  readonly #watch = new BeamWatch();
  #batch = new StepBatch(1, 64);
  #parents = new Uint32Array(64);
  #tokens = new Uint32Array(64);
  #firstLogits = new Float32Array(0);

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /**
   * One search at a time.
   * @param report gets the times of the steps, and what was seen of the beams
   * @throws what the model throws; what concerns one request is its result.
   */
  async run(
    model: Model,
    requests: readonly SearchRequest[],
    report: DecodeReport = newReport(),
  ): Promise<BatchResult> {
    const batch = this.#begin(requests);
    const decoding = model.begin(requests.map(({ prefill }) => prefill));
    const levels = model.levelTokens.length;
    const results = new Array<SearchResult | EspalierError>(requests.length).fill(NOTHING);
    let beams: StepBeams | undefined;
    let modelMs = 0;
    let constraintMs = 0;
    for (let depth = 0; depth < levels; depth++) {
      const startMs = performance.now();
      const logits =
        beams === undefined ? this.#logitsOf(requests) : await decoding.advance(beams, depth === levels - 1);
      const modelEndMs = performance.now();
      batch.firstRows.set(logits.firstRows);
      const { data, vocabSize } = logits;
      const stepStartMs = performance.now();
      this.#kernel.step(batch, { depth, logits: data, vocabSize, tokens: model.levelTokens[depth] });
      report.constraintStepMs.push(performance.now() - stepStartMs);
      // The first step's logits were there when the histories were read.
      if (depth > 0) report.modelStepMs.push(modelEndMs - startMs);
      this.#watch.afterStep(model, depth, batch, logits, report);
      this.#tell(requests, depth, logits);
      this.#takeOut(requests, depth, levels, results);
      const isLast = depth === levels - 1;
      if (!isLast) beams = this.#nextBeams(model, depth);
      batch.advance((request) => requests[request].beamWidths[isLast ? depth : depth + 1]);
      modelMs += modelEndMs - startMs;
      constraintMs += performance.now() - modelEndMs;
      if (beams !== undefined && beams.tokens.length === 0) break;
    }
    this.#watch.atEnd(batch, report);
    this.#collect(results);
    return { results, modelMs, constraintMs };
  }

  #begin(requests: readonly SearchRequest[]): StepBatch {
    const beamCount = requests.reduce((sum, { beamWidths }) => sum + Math.max(...beamWidths), 0);
    const { requestCapacity, beamCapacity } = this.#batch;
    if (requestCapacity < requests.length || beamCapacity < beamCount) {
      this.#batch = new StepBatch(
        Math.max(requests.length, requestCapacity),
        Math.max(beamCount, beamCapacity),
      );
      this.#parents = new Uint32Array(this.#batch.beamCapacity);
      this.#tokens = new Uint32Array(this.#batch.beamCapacity);
    }
    this.#batch.begin(
      requests.map(({ constraint, beamWidths, normalize, temperature }) => ({
        constraint,
        beamWidth: beamWidths[0],
        normalize,
        temperature,
      })),
    );
    return this.#batch;
  }

  /** The first step's, one row a request, from what the model made of the histories. */
  #logitsOf(requests: readonly SearchRequest[]): StepLogits {
    const vocabSize = requests[0].prefill.logits.length;
    const firstRows = Uint32Array.from(requests, (_, index) => index);
    if (requests.length === 1) return { data: requests[0].prefill.logits, vocabSize, firstRows };
    const length = requests.length * vocabSize;
    if (this.#firstLogits.length < length) this.#firstLogits = new Float32Array(length);
    requests.forEach(({ prefill }, index) => {
      this.#firstLogits.set(prefill.logits, index * vocabSize);
    });
    return { data: this.#firstLogits.subarray(0, length), vocabSize, firstRows };
  }

  #tell(requests: readonly SearchRequest[], depth: number, logits: StepLogits): void {
    const batch = this.#batch;
    let firstBeam = 0;
    let firstChild = 0;
    requests.forEach(({ onStep }, request) => {
      if (batch.beamCounts[request] > 0) {
        onStep?.({ depth, batch, request, firstBeam, firstChild, logits });
      }
      firstBeam += batch.beamCounts[request];
      firstChild += batch.beamWidths[request];
    });
  }

  /** Requests with bad logits, and those that must not go on to another step, keep no children. */
  #takeOut(
    requests: readonly SearchRequest[],
    depth: number,
    levels: number,
    results: (SearchResult | EspalierError)[],
  ): void {
    const batch = this.#batch;
    requests.forEach((request, index) => {
      if (batch.beamCounts[index] === 0) return;
      const isLast = depth === levels - 1;
      const fault = badLogitError(batch, index, depth) ?? (isLast ? undefined : request.fault(depth + 1));
      if (fault === undefined) return;
      results[index] = fault;
      batch.counts[index] = 0;
    });
  }

  /** The children that the step has kept, as the model's next beams. */
  #nextBeams(model: Model, depth: number): StepBeams {
    const { requestCount, counts, beamWidths, parentBeams, codes } = this.#batch;
    const tokens = model.levelTokens[depth];
    let beam = 0;
    let firstChild = 0;
    for (let request = 0; request < requestCount; request++) {
      const end = firstChild + counts[request];
      for (let child = firstChild; child < end; child++) {
        this.#parents[beam] = parentBeams[child];
        this.#tokens[beam] = tokenOf(tokens, codes[child]);
        beam++;
      }
      firstChild += beamWidths[request];
    }
    return {
      counts: counts.slice(0, requestCount),
      parents: this.#parents.subarray(0, beam),
      tokens: this.#tokens.subarray(0, beam),
    };
  }

  #collect(results: (SearchResult | EspalierError)[]): void {
    const { beamCounts, nodeLo, scores } = this.#batch;
    let from = 0;
    results.forEach((result, request) => {
      const end = from + beamCounts[request];
      if (result === NOTHING && end > from) {
        results[request] = { leaves: nodeLo.slice(from, end), scores: scores.slice(from, end) };
      }
      from = end;
    });
  }
}
