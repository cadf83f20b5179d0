import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph } from '../onnx-graph.js';

/** What a model has made of one history. Shared by every request that has that history, and never changed. */
export interface Prefill {
  /** float32 [vocabSize]: the logits of the first step. */
  readonly logits: Float32Array;
  /** Bytes that keeping it costs, all tensors together. */
  readonly bytes: number;
  /** Tokens read, by the model's own measure: histories of equal length have equal values. */
  readonly length: number;
}

/** Logits of one step. Valid until the next step of the same model. */
export interface StepLogits {
  /** float32 [rows, vocabSize]; rows that belong to no beam hold anything. */
  data: Float32Array;
  vocabSize: number;
  /** [requests] the row of each request's first beam; its other beams follow. */
  firstRows: Uint32Array;
}

/** The beams of a step: of all requests, one request after the other. Borrowed for the call. */
export interface StepBeams {
  /** [requests] beams of each; 0 for a request that has left the batch, which stays 0. */
  counts: Uint32Array;
  /**
   * [beams] the beam of the step before, counted within its request, that each beam continues. Before the first
   * advance each request has one beam. May be longer than there are beams, as may `tokens`.
   */
  parents: Uint32Array;
  /** [beams] the token that each beam appends. */
  tokens: Uint32Array;
}

/**
 * A batch of requests that decode together. A model runs one batch at a time: once another has begun, this one is
 * over.
 */
export interface ModelDecoding {
  /**
   * Appends a token to every beam, and returns the logits of what may follow.
   * @param beams at least one.
   * @param isLast nothing follows: state for a further step need not be kept.
   */
  advance(beams: StepBeams, isLast: boolean): Promise<StepLogits>;
}

/** A model's graphs, ready to read histories and to decode. */
export interface ModelRunner {
  /** Reads histories (each at least one token), and returns what is to be kept of each, in their order. */
  prefill(histories: readonly (readonly number[])[]): Promise<Prefill[]>;
  /** Begins a decode of a batch, one request for each prefill (a prefill may come twice). */
  begin(prefills: readonly Prefill[]): ModelDecoding;
}

/** A model's graphs, by their names in the manifest's `files`. */
export type Graphs = Readonly<Record<string, OnnxGraph>>;

/** How to speak with a model's graphs. */
export interface Contract {
  /** The names in the manifest's `files` that it reads, e.g. ['model']. */
  readonly files: readonly string[];
  /** What keeps the graphs from being used under this contract; empty when they fit. */
  check(graphs: Graphs): ErrorDetail[];
  open(graphs: Graphs, tokens: SpecialTokens): ModelRunner;
}

/** Tokens of the manifest that a contract may need beside those of the history. */
export interface SpecialTokens {
  decoderStart?: number;
}
