import { expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import { guardOf, sheddingGuard } from '../../src/server/rpc/guard.js';
import type { Gatekeeper } from '../../src/server/security/gatekeeper.js';
import { needOf } from '../../src/server/security/route-scopes.js';

const pressure = {
  admit() {
    throw new EspalierError('ESP_OVERLOADED', 'the server falls behind');
  },
};
const gatekeeper = { needOf, authorize: () => undefined, count: async () => {} };
const deps = [gatekeeper as unknown as Gatekeeper, pressure as never] as const;

it.each([
  ['of gRPC', guardOf(...deps)],
  ['of Connect', sheddingGuard(...deps)],
])('calls %s that recommend are refused under pressure, and no others', async (_, guard) => {
  const check = (method: string) => guard.check({}, `/espalier.v1.${method}`, '127.0.0.1');
  await expect(check('RecommendationService/Recommend')).rejects.toMatchObject({ code: 'ESP_OVERLOADED' });
  await expect(check('RecommendationService/RecommendStream')).rejects.toMatchObject({
    code: 'ESP_OVERLOADED',
  });
  await check('ConstraintSetService/GetConstraintSet');
  await check('CatalogService/PatchItems');
});
