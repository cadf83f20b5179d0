import type { Normalization } from '../kernels/index.js';
import type { AttributeValue, RuleParams } from '../static-trie/index.js';
import type { Explanation } from './explanation.js';

/** A recommend request, complete: every default filled in, every bound checked that needs no catalog. */
export interface RecommendQuery {
  /** Names the request in errors, and when it is cancelled. */
  requestId: string;
  catalog: string;
  /** Item ids, oldest first. */
  history: readonly string[];
  /** Tokens that the model reads as they are, instead of a history's. */
  inputIds?: readonly number[];
  k: number;
  /** M, or one M for each level. */
  beamWidth: number | readonly number[];
  constraint: QueryConstraint;
  excludeHistory: boolean;
  normalize: Normalization;
  temperature: number;
  attributes: readonly string[];
  /** At most `max` items of the answer share a value of `attribute`. */
  diversity?: Diversity;
  /** What happened at each step, and to each of these items. */
  explain?: boolean | { items: readonly string[] };
  /** Both on the clock of `monotonicMs`: the query may cross to another process. */
  enqueuedAtMs: number;
  deadlineAtMs: number;
}

/** What one request may get: all parts intersect. */
export interface QueryConstraint {
  set?: string;
  filter?: string;
  params?: RuleParams;
  include?: readonly string[];
  exclude?: readonly string[];
}

export interface Diversity {
  attribute: string;
  max: number;
}

export const shortfallCodes = [
  'ESP_SHORTFALL_NOTHING_ALLOWED',
  'ESP_SHORTFALL_FEW_ALLOWED',
  'ESP_SHORTFALL_BEAM',
  'ESP_SHORTFALL_DIVERSITY',
] as const;
export type ShortfallCode = (typeof shortfallCodes)[number];

export interface AnswerItem {
  id: string;
  /** Sum of natural-log probabilities along the SID. */
  score: number;
  sid: number[];
  attributes?: Record<string, AttributeValue | null>;
}

/** Wall time. A request that decodes in a batch waits for the whole batch's model runs and steps. */
export interface Timings {
  queueMs: number;
  /** Reading the histories: a part of `modelMs`. For metrics and traces; the API does not show it. */
  prefillMs: number;
  modelMs: number;
  constraintMs: number;
  totalMs: number;
}

export interface RecommendAnswer {
  /** Best first: by score, then by id in code units. */
  items: AnswerItem[];
  complete: boolean;
  shortfall?: { code: ShortfallCode; message: string };
  unknownItems: string[];
  versions: { catalog: number; constraintSet?: number; model: number };
  timings: Timings;
  explain?: Explanation;
}
