import { monotonicMs, type RecommendQuery } from '../../src/decoder/index.js';

/** A query with the defaults that the HTTP API would fill in. */
export function query(fields: Partial<RecommendQuery>): RecommendQuery {
  const enqueuedAtMs = monotonicMs();
  return {
    requestId: 'test',
    catalog: 'retail',
    history: [],
    k: 10,
    beamWidth: 50,
    constraint: {},
    excludeHistory: false,
    normalize: 'vocabulary',
    temperature: 1,
    attributes: [],
    enqueuedAtMs,
    deadlineAtMs: enqueuedAtMs + 60_000,
    ...fields,
  };
}
