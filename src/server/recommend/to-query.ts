import type { Static } from 'typebox';
import { monotonicMs, type RecommendQuery } from '../../decoder/index.js';
import { fieldError } from '../../errors.js';
import { MAX_BEAM_WIDTH } from '../http/schemas/common.js';
import { type RecommendBody, recommendDefaults } from '../http/schemas/recommend.js';

const DEFAULT_BEAM_WIDTH = 50;

/** A recommend request as it comes, over any protocol. */
export type RecommendRequest = Static<typeof RecommendBody>;

/**
 * A request that fits its schema, with its defaults, and what no schema says checked.
 * @throws EspalierError ESP_REQUEST_INVALID, ESP_BEAM_WIDTH
 */
export function toQuery(
  request: RecommendRequest,
  requestId: string,
  defaultTimeoutMs: number,
): RecommendQuery {
  const { timeoutMs, history, ...complete } = { ...recommendDefaults, ...request };
  const { k, beamWidth = Math.max(k, DEFAULT_BEAM_WIDTH), constraint, inputIds } = complete;
  if ((history === undefined) === (inputIds === undefined)) {
    const found = history === undefined ? 'neither' : 'both';
    throw fieldError('ESP_REQUEST_INVALID', 'history', 'one of history and inputIds', found);
  }
  if (complete.excludeHistory && history === undefined) {
    throw fieldError('ESP_REQUEST_INVALID', 'excludeHistory', 'a history to exclude', 'inputIds');
  }
  if (typeof beamWidth === 'number' && beamWidth < k) {
    throw fieldError('ESP_BEAM_WIDTH', 'beamWidth', `${k} (k) to ${MAX_BEAM_WIDTH}`, String(beamWidth));
  }
  if (constraint.params !== undefined && constraint.filter === undefined) {
    throw fieldError('ESP_REQUEST_INVALID', 'constraint.filter', 'a rule that uses the params', 'nothing');
  }
  const enqueuedAtMs = monotonicMs();
  return {
    ...complete,
    history: history ?? [],
    requestId,
    beamWidth,
    enqueuedAtMs,
    deadlineAtMs: enqueuedAtMs + (timeoutMs ?? defaultTimeoutMs),
  };
}
