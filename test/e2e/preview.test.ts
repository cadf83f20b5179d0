import { beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, send, startTestServer, upload } from '../helpers/server.js';

let server: ServerProcess;
const items = Array.from({ length: 60 }, (_, index) => ({
  id: `item ${String(index).padStart(2, '0')}`,
  sid: [Math.floor(index / 15), Math.floor(index / 3) % 5, index % 3],
  price: index,
}));

beforeAll(async () => {
  server = await startTestServer(makeDataDir());
  const definition = {
    model: 'learned-logits',
    sid: { codebookSizes: [4, 5, 3] },
    attributes: { price: { type: 'double' } },
  };
  expect((await send(server, 'PUT', '/v1/catalogs/small', definition)).status).toBe(201);
  expect((await upload(server, 'small', items)).state).toBe('succeeded');
});

async function preview(rule: string) {
  const path = '/v1/catalogs/small/constraint-sets/preview';
  const { status, body } = await send(server, 'POST', path, { rule });
  expect(status).toBe(200);
  return body;
}

describe('the preview of a rule', () => {
  it('shows items from all over the set, the same each time', async () => {
    const { items: count, sample, warnings } = await preview('price >= 10.0');
    expect([count, warnings]).toEqual([50, []]);
    expect(sample).toEqual(
      [10, 15, 20, 25, 30, 35, 40, 45, 50, 55].map((price) => ({
        id: items[price].id,
        sid: items[price].sid,
        attributes: { price },
      })),
    );
    expect((await preview('price >= 10.0')).sample).toEqual(sample);
    expect((await preview('price < 3.0')).sample.map(({ id }: { id: string }) => id)).toEqual(
      items.slice(0, 3).map(({ id }) => id),
    );
  });

  it('warns of a rule that allows nothing', async () => {
    expect(await preview('price < 0.0')).toEqual({
      items: 0,
      leaves: 0,
      liveChildrenPerLevel: [0, 0, 0],
      sample: [],
      warnings: ['the rule allows no item'],
    });
  });
});
