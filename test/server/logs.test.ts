import type { DestinationStream } from 'pino';
import { describe, expect, it } from 'vitest';
import type { Recheck, Timings } from '../../src/decoder/index.js';
import { EspalierError } from '../../src/errors.js';
import { makeLogger } from '../../src/server/logs/logger.js';
import { RecommendLog } from '../../src/server/logs/recommend-log.js';
import { requestIdOf } from '../../src/server/logs/request-id.js';
import { IdsInFlight } from '../../src/server/recommend/ids-in-flight.js';

// biome-ignore lint/suspicious/noExplicitAny: log lines have many shapes.
type Line = any;

/** A real logger, and the lines that it wrote. */
function newLog(logLevel: 'debug' | 'info' | 'warn' = 'info') {
  const lines: Line[] = [];
  const destination: DestinationStream = { write: (line) => lines.push(JSON.parse(line)) };
  return { logger: makeLogger({ logLevel }, destination), lines };
}

const timings = (totalMs: number): Timings => ({
  queueMs: 1,
  prefillMs: 2,
  modelMs: 3,
  constraintMs: 4,
  totalMs,
});

describe('request ids', () => {
  it.each(['a', '7f3c-9', 'x'.repeat(128), '!~"#'])('are taken from the caller: %s', (id) => {
    expect(requestIdOf({ 'x-request-id': id })).toBe(id);
  });

  it.each(['', 'x'.repeat(129), 'two words', 'tab\t', 'ü', 'line\nbreak', 'nul\0'])(
    'are made where the caller’s is malformed: %j',
    (id) => {
      const found = requestIdOf({ 'x-request-id': id });
      expect(found).toMatch(/^[0-9a-f-]{36}$/);
      expect(requestIdOf({ 'x-request-id': id })).not.toBe(found);
    },
  );

  it('under way are told apart where callers send one twice', () => {
    const ids = new IdsInFlight();
    expect(['a', 'a', 'b', 'a'].map((id) => ids.take(id))).toEqual(['a', 'a#2', 'b', 'a#3']);
    ids.free('a');
    expect(ids.take('a')).toBe('a');
    // Somebody may send what was made up for another.
    expect(ids.take('a#2')).toBe('a#2#2');
  });
});

describe('the log', () => {
  it('never has credentials, whoever logs headers', () => {
    const { logger, lines } = newLog();
    const headers = {
      authorization: 'Bearer s3cret',
      cookie: 's3cret',
      'x-api-key': 's3cret',
      'proxy-authorization': 's3cret',
      host: 'here',
    };
    logger.info({ headers }, 'as they are');
    logger.info({ req: { headers } }, 'in a request');
    expect(JSON.stringify(lines)).not.toContain('s3cret');
    expect(lines[0].headers).toMatchObject({ authorization: '(redacted)', host: 'here' });
  });

  it('has slow requests, with their id and where the time went', () => {
    const { logger, lines } = newLog();
    const log = new RecommendLog(logger, 100);
    log.answered('fast', 'retail', timings(99));
    log.answered('slow', 'retail', timings(100));
    log.failed('failed', 'retail', new EspalierError('ESP_TIMEOUT', 'too late'), 200);
    expect(lines.map(({ level, reqId, code }) => [level, reqId, code])).toEqual([
      [40, 'slow', undefined],
      [40, 'failed', 'ESP_TIMEOUT'],
    ]);
    expect(lines[0].timings).toEqual(timings(100));
  });

  it('has none where nothing is slow', () => {
    const { logger, lines } = newLog();
    new RecommendLog(logger, 0).answered('slow', 'retail', timings(1e9));
    expect(lines).toEqual([]);
  });

  it('has the first violations of an answer as an error, and why a look failed', () => {
    const { logger, lines } = newLog();
    const log = new RecommendLog(logger, 0);
    const recheck: Recheck = {
      requestId: 'r1',
      catalog: 'retail',
      versions: { catalog: 3, model: 1 },
      set: 'cheap',
      items: 20,
      isPartial: false,
      violations: [],
    };
    log.rechecked(recheck);
    expect(lines).toEqual([]);
    const violations = Array.from({ length: 20 }, (_, item) => ({ id: `i${item}`, kind: 'set' as const }));
    log.rechecked({ ...recheck, violations });
    log.rechecked({ ...recheck, failure: 'it broke' });
    expect(lines[0]).toMatchObject({ level: 50, reqId: 'r1', set: 'cheap', violationCount: 20 });
    expect(lines[0].violations).toEqual(violations.slice(0, 10));
    expect(lines[1]).toMatchObject({ level: 50, reqId: 'r1', failure: 'it broke' });
  });
});
