import type { Normalization } from './log-probs.js';
import { normalizations } from './log-probs.js';
import type { Constraint } from './types.js';

/** What one request asks of every step. */
export interface StepRequest {
  constraint: Constraint;
  /** M: how many children are kept at most. */
  beamWidth: number;
  normalize: Normalization;
  /** Logits are divided by it, as float32, before anything else. */
  temperature: number;
}

/**
 * The beams of a batch of requests and, after a step, their best children. Made once and used for every step, so
 * that a warm decode allocates nothing here. Arrays by beam hold one request after the other: a request's beams
 * begin behind all beams, its children behind all beam widths, of the requests before it.
 */
export class StepBatch {
  /** [requests] what each may reach. */
  readonly constraints: Constraint[] = [];
  /** [requests] parent beams; 0 for a request that has left the batch. */
  readonly beamCounts: Uint32Array;
  /** [requests] M: how many children are kept at most. */
  readonly beamWidths: Uint32Array;
  /** [requests] the row of logits of each request's first beam; its others follow. */
  readonly firstRows: Uint32Array;
  /** [requests] indices of `normalizations`. */
  readonly normalizations: Uint32Array;
  /** [requests] */
  readonly temperatures: Float32Array;
  /** [beams] cumulative natural-log scores, and the node of each beam: a range of leaves, one of which is live. */
  readonly scores: Float32Array;
  readonly nodeLo: Uint32Array;
  readonly nodeHi: Uint32Array;

  /** [requests] children kept. */
  readonly counts: Uint32Array;
  /** [beamWidths of all] children, best first. `parentBeams` counts within the request. */
  readonly childScores: Float32Array;
  readonly parentBeams: Uint32Array;
  readonly codes: Uint32Array;
  readonly childLo: Uint32Array;
  readonly childHi: Uint32Array;
  /** [beams] the logSumExp of what each beam's normalization reads. */
  readonly normalizers: Float32Array;
  /** [requests] the first beam with a logit that is NaN or +infinity, or -1; such a request keeps no children. */
  readonly badBeams: Int32Array;
  readonly badTokens: Uint32Array;
  readonly badValues: Float32Array;

  /** @param beamCapacity room for the beams, and for the beam widths, of all requests. */
  constructor(
    readonly requestCapacity: number,
    readonly beamCapacity: number,
  ) {
    const words = (length: number) => new Uint32Array(length);
    const floats = (length: number) => new Float32Array(length);
    this.beamCounts = words(requestCapacity);
    this.beamWidths = words(requestCapacity);
    this.firstRows = words(requestCapacity);
    this.normalizations = words(requestCapacity);
    this.temperatures = floats(requestCapacity);
    this.scores = floats(beamCapacity);
    this.nodeLo = words(beamCapacity);
    this.nodeHi = words(beamCapacity);
    this.counts = words(requestCapacity);
    this.childScores = floats(beamCapacity);
    this.parentBeams = words(beamCapacity);
    this.codes = words(beamCapacity);
    this.childLo = words(beamCapacity);
    this.childHi = words(beamCapacity);
    this.normalizers = floats(beamCapacity);
    this.badBeams = new Int32Array(requestCapacity);
    this.badTokens = words(requestCapacity);
    this.badValues = floats(requestCapacity);
  }

  get requestCount(): number {
    return this.constraints.length;
  }

  /** Empties the batch and puts each request's one beam at the root. */
  begin(requests: readonly StepRequest[]): void {
    this.constraints.length = 0;
    requests.forEach(({ constraint, beamWidth, normalize, temperature }, index) => {
      this.constraints.push(constraint);
      this.beamCounts[index] = 1;
      this.beamWidths[index] = beamWidth;
      this.firstRows[index] = index;
      this.normalizations[index] = normalizations.indexOf(normalize);
      this.temperatures[index] = temperature;
      this.scores[index] = 0;
      this.nodeLo[index] = 0;
      this.nodeHi[index] = constraint.trie.leafCount;
    });
  }

  /** Makes the children the beams of the next step. @param beamWidthOf M of the next step */
  advance(beamWidthOf: (request: number) => number): void {
    let beam = 0;
    let child = 0;
    for (let request = 0; request < this.requestCount; request++) {
      const count = this.counts[request];
      this.scores.set(this.childScores.subarray(child, child + count), beam);
      this.nodeLo.set(this.childLo.subarray(child, child + count), beam);
      this.nodeHi.set(this.childHi.subarray(child, child + count), beam);
      child += this.beamWidths[request];
      beam += count;
      this.beamCounts[request] = count;
      this.beamWidths[request] = beamWidthOf(request);
    }
  }
}
