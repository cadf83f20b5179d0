import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { loadRetail } from '../../examples/online-retail/retail.js';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { makeDataDir, send, startTestServer, upload } from '../helpers/server.js';

/** Bad input of every kind gets its code, status and place, and nothing that was active changes. */

const request = { catalog: 'retail', history: ['85123A'], k: 5 };
let server: ServerProcess;
let activeBefore: unknown;

async function active() {
  const catalogs = (await send(server, 'GET', '/v1/catalogs')).body;
  const sets = (await send(server, 'GET', '/v1/catalogs/retail/constraint-sets')).body;
  const { items } = (
    await send(server, 'POST', '/v1/recommend', { ...request, constraint: { set: 'germany' } })
  ).body;
  return { catalogs, sets, items };
}

beforeAll(async () => {
  server = await startTestServer(makeDataDir());
  await loadRetail(server.url);
  activeBefore = await active();
});
afterEach(async () => {
  expect(await active()).toEqual(activeBefore);
});
afterAll(() => server.stop());

describe('recommend', () => {
  it.each([
    ['malformed JSON', '{"catalog": "retail", ', 400, 'ESP_BODY_MALFORMED', undefined],
    ['no body', '', 400, 'ESP_BODY_MALFORMED', undefined],
    [
      'a misspelt constraint',
      { ...request, constraints: { set: 'germany' } },
      400,
      'ESP_REQUEST_INVALID',
      'constraints',
    ],
    [
      'a misspelt set',
      { ...request, constraint: { sett: 'germany' } },
      400,
      'ESP_REQUEST_INVALID',
      'constraint.sett',
    ],
    ['a number in quotes', { ...request, k: '5' }, 400, 'ESP_REQUEST_INVALID', 'k'],
    ['a history that is no list', { ...request, history: '85123A' }, 400, 'ESP_REQUEST_INVALID', 'history'],
    [
      'a history with a number',
      { ...request, history: ['85123A', 85123] },
      400,
      'ESP_REQUEST_INVALID',
      'history[1]',
    ],
    ['no catalog', { history: [] }, 400, 'ESP_REQUEST_INVALID', 'catalog'],
    ['k of 0', { ...request, k: 0 }, 400, 'ESP_REQUEST_INVALID', 'k'],
    ['k beyond 1024', { ...request, k: 1025 }, 400, 'ESP_REQUEST_INVALID', 'k'],
    ['a beam wider than 1024', { ...request, beamWidth: 1025 }, 400, 'ESP_REQUEST_INVALID', 'beamWidth'],
    ['a beam narrower than k', { ...request, beamWidth: 4 }, 400, 'ESP_BEAM_WIDTH', 'beamWidth'],
    ['an unknown normalization', { ...request, normalize: 'all' }, 400, 'ESP_REQUEST_INVALID', 'normalize'],
    ['a temperature of 0', { ...request, temperature: 0 }, 400, 'ESP_REQUEST_INVALID', 'temperature'],
    ['an unknown catalog', { ...request, catalog: 'retial' }, 404, 'ESP_CATALOG_NOT_FOUND', 'catalog'],
    [
      'an unknown set',
      { ...request, constraint: { set: 'germani' } },
      404,
      'ESP_SET_NOT_FOUND',
      'constraint.set',
    ],
    [
      'an unknown attribute',
      { ...request, attributes: ['colour'] },
      400,
      'ESP_ATTRIBUTE_NOT_FOUND',
      'attributes',
    ],
    [
      'params without a filter',
      { ...request, constraint: { params: { a: 1 } } },
      400,
      'ESP_REQUEST_INVALID',
      'constraint.filter',
    ],
  ])('refuses %s', async (_, body, status, code, field) => {
    const reply = await send(server, 'POST', '/v1/recommend', body);
    expect([reply.status, reply.body.error.code]).toEqual([status, code]);
    expect(reply.body.error.message).toBeTruthy();
    if (field === undefined) return;
    expect(reply.body.error.details).toContainEqual(
      expect.objectContaining({ field, expected: expect.any(String), found: expect.any(String) }),
    );
  });

  it.each([
    ['k', { k: '5' }, { field: 'k', expected: 'integer', found: '"5"' }],
    [
      'normalize',
      { normalize: 'all' },
      { field: 'normalize', expected: 'one of vocabulary, level, live', found: '"all"' },
    ],
    ['x', { x: 1 }, { field: 'x', expected: 'no field of this name', found: 'x' }],
    ['k', { k: 0 }, { field: 'k', expected: '>= 1', found: '0' }],
    [
      'history',
      { history: Array(60_000).fill(1) },
      { field: 'history', expected: expect.any(String), found: 'a list of 60000 values' },
    ],
  ])('says of %s what was expected and what was found', async (_, fields, detail) => {
    const reply = await send(server, 'POST', '/v1/recommend', { ...request, ...fields });
    expect(reply.status).toBe(400);
    expect(reply.body.error.details).toEqual([detail]);
  });

  it.each([
    [
      'a name that comes twice',
      '{"catalog":"retail","history":[],"constraint":{"set":"germany"},"constraint":{}}',
      400,
      'ESP_REQUEST_INVALID',
    ],
    [
      'the same name, escaped',
      '{"catalog":"retail","history":[],"constraint":{"set":"germany","s\\u0065t":"christmas"}}',
      400,
      'ESP_REQUEST_INVALID',
    ],
    [
      'lists in lists without end',
      `{"catalog":"retail","history":${'['.repeat(400_000)}${']'.repeat(400_000)}}`,
      400,
      'ESP_REQUEST_INVALID',
    ],
    ['a prototype', '{"catalog":"retail","history":[],"__proto__":{"k":3}}', 400, 'ESP_BODY_MALFORMED'],
    ['too large a body', `{"catalog":"${'x'.repeat(2 << 20)}"}`, 413, 'ESP_BODY_TOO_LARGE'],
  ])('refuses %s', async (_, body, status, code) => {
    const reply = await send(server, 'POST', '/v1/recommend', body);
    expect([reply.status, reply.body.error.code]).toEqual([status, code]);
  });

  it('refuses what routes do not read: queries, bodies, other content types', async () => {
    for (const [method, path, body, contentType, status, code] of [
      ['POST', '/v1/recommend?k=3', request, 'application/json', 400, 'ESP_REQUEST_INVALID'],
      ['GET', '/v1/catalogs?name=x', undefined, 'application/json', 400, 'ESP_REQUEST_INVALID'],
      [
        'PUT',
        '/v1/catalogs/retail/constraint-sets/germany?dryRun=1',
        { rule: 'true' },
        'application/json',
        400,
        'ESP_REQUEST_INVALID',
      ],
      [
        'POST',
        '/v1/catalogs/retail/versions/1/activate',
        { version: 2 },
        'application/json',
        400,
        'ESP_REQUEST_INVALID',
      ],
      ['POST', '/v1/recommend', JSON.stringify(request), 'text/plain', 415, 'ESP_MEDIA_TYPE'],
      ['PUT', '/v1/catalogs/retail', '{}', 'application/x-ndjson', 415, 'ESP_MEDIA_TYPE'],
    ] as const) {
      const reply = await send(server, method, path, body, contentType);
      expect([path, reply.status, reply.body.error.code]).toEqual([path, status, code]);
    }
  });

  it('refuses parameters that the rule does not read', async () => {
    const constraint = { filter: 'has(params.max) && price < 2.0', params: { max: 1, maxx: 1 } };
    const reply = await send(server, 'POST', '/v1/recommend', { ...request, constraint });
    expect([reply.status, reply.body.error.code]).toEqual([400, 'ESP_RULE_NAME']);
    expect(reply.body.error.details[0].found).toBe('params.maxx');
  });

  it('answers what is not HTTP with an error of the same shape', async () => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1');
    socket.end('NOT HTTP\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += chunk;
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(JSON.parse(text.split('\r\n\r\n')[1]).error.code).toBe('ESP_BODY_MALFORMED');
  });

  it.each([
    ['price <', 'ESP_RULE_SYNTAX', 6],
    ['pirce < 2.0', 'ESP_RULE_NAME', 0],
    ['price < params.max', 'ESP_RULE_NAME', undefined],
    ['price < "two"', 'ESP_RULE_TYPE', undefined],
    ['price', 'ESP_RULE_TYPE', 0],
    ['dyn(price) < 2.0', 'ESP_RULE_UNSUPPORTED', undefined],
  ])('refuses the rule %s with its position', async (filter, code, position) => {
    for (const reply of [
      await send(server, 'POST', '/v1/recommend', { ...request, constraint: { filter } }),
      await send(server, 'PUT', '/v1/catalogs/retail/constraint-sets/germany', { rule: filter }),
      await send(server, 'POST', '/v1/catalogs/retail/constraint-sets/preview', { rule: filter }),
    ]) {
      expect([reply.status, reply.body.error.code]).toEqual([400, code]);
      const [detail] = reply.body.error.details;
      expect(detail).toMatchObject({
        position: position ?? expect.any(Number),
        expected: expect.any(String),
        found: expect.any(String),
      });
    }
  });
});

describe('catalogs', () => {
  const sid = { codebookSizes: [2, 3] };

  it.each([
    ['an unknown model', { model: 'retale', sid, attributes: {} }, 404, 'ESP_MODEL_NOT_FOUND', 'model'],
    [
      'an unknown model version',
      { model: { name: 'table', version: 7 }, sid, attributes: {} },
      404,
      'ESP_MODEL_NOT_FOUND',
      'model',
    ],
    [
      'codebooks that the model does not have',
      { model: 'table', sid: { codebookSizes: [2, 4] }, attributes: {} },
      422,
      'ESP_MODEL_MISFIT',
      'sid.codebookSizes',
    ],
    [
      'a model whose input has another name',
      { model: 'wrong-input-name', sid, attributes: {} },
      422,
      'ESP_MODEL_MISFIT',
      'input_ids',
    ],
    [
      'a model whose output has another name',
      { model: 'wrong-output-name', sid, attributes: {} },
      422,
      'ESP_MODEL_MISFIT',
      'logits',
    ],
    [
      'a model with too small a vocabulary',
      { model: 'small-vocabulary', sid, attributes: {} },
      422,
      'ESP_MODEL_MISFIT',
      'tokens.levelOffsets[1]',
    ],
    [
      'a model that is not ONNX',
      { model: 'not-onnx', sid, attributes: {} },
      422,
      'ESP_MODEL_MISFIT',
      'files.model',
    ],
    [
      'an attribute of an unknown type',
      { model: 'table', sid, attributes: { a: { type: 'float' } } },
      400,
      'ESP_REQUEST_INVALID',
      'attributes.a.type',
    ],
    [
      'an attribute called sid',
      { model: 'table', sid, attributes: { sid: { type: 'int64' } } },
      400,
      'ESP_REQUEST_INVALID',
      'attributes.sid',
    ],
    [
      'an attribute called params',
      { model: 'table', sid, attributes: { params: { type: 'int64' } } },
      400,
      'ESP_REQUEST_INVALID',
      'attributes.params',
    ],
    [
      'an unknown field',
      { model: 'table', sid, attributes: {}, modle: 1 },
      400,
      'ESP_REQUEST_INVALID',
      'modle',
    ],
  ])('refuses %s', async (_, body, status, code, field) => {
    const reply = await send(server, 'PUT', '/v1/catalogs/other', body);
    expect([reply.status, reply.body.error.code]).toEqual([status, code]);
    expect(reply.body.error.details).toContainEqual(expect.objectContaining({ field }));
  });

  it('refuses other attributes or codebooks for a catalog that has versions', async () => {
    const { attributes, model, sid } = (await send(server, 'GET', '/v1/catalogs/retail')).body;
    const reply = await send(server, 'PUT', '/v1/catalogs/retail', {
      model,
      sid,
      attributes: { ...attributes, x: { type: 'bool' } },
    });
    expect([reply.status, reply.body.error.code]).toEqual([409, 'ESP_CATALOG_CONFLICT']);
    expect(reply.body.error.details[0].field).toBe('attributes');
  });

  it('refuses unknown versions, jobs, routes, and names that are no names', async () => {
    for (const [method, path, status, code] of [
      ['POST', '/v1/catalogs/retail/versions/9/activate', 404, 'ESP_VERSION_NOT_FOUND'],
      ['GET', '/v1/catalogs/nothing', 404, 'ESP_CATALOG_NOT_FOUND'],
      ['GET', '/v1/catalogs/retail/constraint-sets/nothing', 404, 'ESP_SET_NOT_FOUND'],
      ['GET', '/v1/jobs/00000000-0000-0000-0000-000000000000', 404, 'ESP_JOB_NOT_FOUND'],
      ['GET', '/v1/nothing', 404, 'ESP_ROUTE_NOT_FOUND'],
      ['GET', '/v1/catalogs/..%2F..%2Fetc', 400, 'ESP_REQUEST_INVALID'],
      ['GET', '/v1/catalogs/%zz', 400, 'ESP_REQUEST_INVALID'],
      ['GET', `/v1/catalogs/${'a'.repeat(129)}`, 400, 'ESP_REQUEST_INVALID'],
      ['GET', `/v1/catalogs/${'a'.repeat(128)}`, 404, 'ESP_CATALOG_NOT_FOUND'],
    ] as const) {
      const reply = await send(server, method, path);
      expect([path, reply.status, reply.body.error.code]).toEqual([path, status, code]);
    }
    const withBody = await send(server, 'POST', '/v1/nothing', { a: 1 });
    expect([withBody.status, withBody.body.error.code]).toEqual([404, 'ESP_ROUTE_NOT_FOUND']);
  });
});

describe('uploads', () => {
  const good = { id: 'a', sid: [1, 2, 3] };

  it.each([
    ['a SID of the wrong length', { id: 'b', sid: [1, 2] }, 'sid'],
    ['a code outside its codebook', { id: 'b', sid: [1, 2, 100_000] }, 'sid[2]'],
    ['a duplicate id', { id: 'a', sid: [1, 2, 4] }, 'id'],
    ['an attribute of the wrong type', { ...good, id: 'b', price: '2.50' }, 'price'],
    ['an undeclared attribute', { ...good, id: 'b', colour: 'red' }, 'colour'],
    ['a name that comes twice', '{"id":"b","sid":[1,2,3],"price":1,"price":2}', 'price'],
    [
      'an attribute nested without end',
      `{"id":"b","sid":[1,2,3],"title":${'['.repeat(90_000)}${']'.repeat(90_000)}}`,
      'title',
    ],
  ])('fail as a whole on %s, with line and field', async (_, bad, field) => {
    const job = await upload(server, 'retail', [good, bad]);
    expect([job.state, job.error.code]).toEqual(['failed', 'ESP_UPLOAD_INVALID']);
    expect(job.error.details).toEqual([
      expect.objectContaining({ line: 2, field, expected: expect.any(String), found: expect.any(String) }),
    ]);
  });

  it('refuse another content type, an unknown catalog, and a wrong query', async () => {
    for (const [path, contentType, status, code] of [
      ['/v1/catalogs/retail/versions', 'text/tab-separated-values', 415, 'ESP_MEDIA_TYPE'],
      ['/v1/catalogs/retail/versions', 'text/csv; charset=latin1', 415, 'ESP_MEDIA_TYPE'],
      ['/v1/catalogs/retail/versions', 'application/json', 415, 'ESP_MEDIA_TYPE'],
      ['/v1/catalogs/nothing/versions', 'Application/X-NDJSON', 404, 'ESP_CATALOG_NOT_FOUND'],
      ['/v1/catalogs/retail/versions?activate=yes', 'application/x-ndjson', 400, 'ESP_REQUEST_INVALID'],
      ['/v1/catalogs/retail/versions?activat=true', 'application/x-ndjson', 400, 'ESP_REQUEST_INVALID'],
    ] as const) {
      const reply = await send(server, 'POST', path, JSON.stringify(good), contentType);
      expect([path, reply.status, reply.body.error.code]).toEqual([path, status, code]);
    }
  });
});

describe('uploads that end in the middle', () => {
  const head = (path: string) =>
    `POST ${path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"id"\r\n`;

  it('are given up when nothing comes, and do not keep the server from stopping', async () => {
    const dataDir = makeDataDir();
    const other = await startTestServer(dataDir, [
      '--upload-idle-timeout-ms',
      '300',
      '--shutdown-grace-ms',
      '200',
    ]);
    await loadRetail(other.url);
    const port = Number(new URL(other.url).port);
    const stalled = connect(port, '127.0.0.1');
    stalled.write(head('/v1/catalogs/retail/versions'));
    let text = '';
    for await (const chunk of stalled) {
      text += chunk;
      if (text.includes('}}')) break;
    }
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
    expect(text).toContain('ESP_UPLOAD_STALLED');
    expect(readdirSync(join(dataDir, 'uploads'))).toEqual([]);

    const patient = await startTestServer(makeDataDir(), [
      '--upload-idle-timeout-ms',
      '600000',
      '--shutdown-grace-ms',
      '200',
    ]);
    await loadRetail(patient.url);
    const hanging = connect(Number(new URL(patient.url).port), '127.0.0.1');
    hanging.on('error', () => {});
    hanging.write(head('/v1/catalogs/retail/versions'));
    await new Promise((resolve) => setTimeout(resolve, 100));
    await patient.stop();
    hanging.destroy();
  });
});

describe('models that go wrong', () => {
  const items = [0, 1].flatMap((a) => [0, 1, 2].map((b) => ({ id: `${a}-${b}`, sid: [a, b] })));

  async function serve(model: string) {
    const definition = { model, sid: { codebookSizes: [2, 3] }, attributes: {} };
    const other = await startTestServer(makeDataDir());
    expect((await send(other, 'PUT', '/v1/catalogs/small', definition)).status).toBe(201);
    expect((await upload(other, 'small', items)).state).toBe('succeeded');
    return other;
  }

  it('answer NaN logits with an error that names request, step and beam', async () => {
    const other = await serve('nan');
    const reply = await send(other, 'POST', '/v1/recommend', { catalog: 'small', history: [] });
    expect([reply.status, reply.body.error.code]).toEqual([500, 'ESP_MODEL_OUTPUT']);
    expect(reply.body.error.message).toMatch(
      /^request [0-9a-f-]{36}, step 1, beam [01]: the logit of token 5 must be finite/,
    );
    await other.stop();
  });

  it('answer nothing, with a reason, where the model gives no live child', async () => {
    const other = await serve('silent');
    const { body } = await send(other, 'POST', '/v1/recommend', { catalog: 'small', history: [] });
    expect(body).toMatchObject({
      items: [],
      complete: false,
      shortfall: { code: 'ESP_SHORTFALL_FEW_ALLOWED' },
    });
    await other.stop();
  });

  it('refuse an empty history where there is no bos token', async () => {
    const other = await serve('no-bos');
    const reply = await send(other, 'POST', '/v1/recommend', { catalog: 'small', history: ['unknown'] });
    expect([reply.status, reply.body.error.code]).toEqual([400, 'ESP_HISTORY_EMPTY']);
    expect(
      (await send(other, 'POST', '/v1/recommend', { catalog: 'small', history: ['0-1'], k: 6 })).body.items,
    ).toHaveLength(6);
    await other.stop();
  });
});
