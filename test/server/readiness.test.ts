import { expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import { Readiness, type ReadinessDeps } from '../../src/server/readiness.js';

const active = { name: 'small', active: { version: 1 } };

function readinessOf({ redis, ...changed }: Partial<ReadinessDeps> & { redis?: string } = {}) {
  return new Readiness({
    engine: { engineCount: 1 },
    queue: { unavailable: () => redis },
    gatekeeper: { failure: undefined },
    catalogs: { notServing: () => [], list: () => [active] } as unknown as ReadinessDeps['catalogs'],
    failures: [],
    ...changed,
  });
}

it('is ready and degraded while Redis does not answer: recommending goes on', () => {
  const well = readinessOf();
  expect([well.reasons(), well.degraded()]).toEqual([[], []]);
  const alone = readinessOf({ redis: 'Redis at redis://host does not answer' });
  expect(alone.reasons()).toEqual([]);
  expect(alone.degraded()).toEqual(['Redis at redis://host does not answer; uploads are refused']);
});

it('is not ready where nothing can be recommended', () => {
  const error = new EspalierError('ESP_KEYS_UNAVAILABLE', 'keys.json is gone');
  const catalogs = { notServing: () => [], list: () => [] };
  const loss = new EspalierError('ESP_ARTIFACT_CORRUPT', 'lost');
  const notServing = () => [{ name: 'small', error: loss }];
  const broken = { catalogs: { notServing, list: () => [active] } as unknown as ReadinessDeps['catalogs'] };
  const unready: [Partial<ReadinessDeps>, string][] = [
    [{ engine: { engineCount: 0 } }, 'every decode engine is being replaced'],
    [broken, `catalog small is not served: ${loss.code}: lost`],
    [{ gatekeeper: { failure: error } }, 'keys.json is gone'],
    [{ failures: ['a thread died'] }, 'a thread died'],
    [{ catalogs }, 'no catalog has an active version'],
  ];
  for (const [changed, reason] of unready) expect(readinessOf(changed).reasons()).toEqual([reason]);
  const draining = readinessOf();
  draining.drain();
  expect(draining.reasons()).toEqual(['the server is shutting down']);
});
