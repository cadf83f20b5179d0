import { describe, expect, it } from 'vitest';
import { EspalierClient, type RecommendRequest } from '../../src/client/index.js';
import { answers, type Behaviour, littleServer, refuses, resets } from '../helpers/little-server.js';

const started = { job: { id: 'j', state: 'queued' }, version: 1 };

describe('uploads', () => {
  it('send one key with every attempt, and open their source anew', async () => {
    const server = await littleServer(
      resets,
      refuses(409, 'ESP_IDEMPOTENCY_KEY', { 'retry-after': '0' }),
      answers(202, started),
    );
    const { catalogs } = new EspalierClient({ url: server.url });
    let opened = 0;
    const items = async function* () {
      opened++;
      yield { id: 'a', sid: [1] };
      yield { id: 'b', sid: [2] };
    };
    expect(await catalogs.upload('shop', items, { activate: true })).toEqual(started);
    expect(opened).toBe(3);
    const last = server.requests[2];
    expect(last.path).toBe('/v1/catalogs/shop/versions?activate=true');
    expect(last.body).toBe('{"id":"a","sid":[1]}\n{"id":"b","sid":[2]}\n');
    expect(last.headers['content-type']).toBe('application/x-ndjson');
    const keys = new Set(server.requests.map(({ headers }) => headers['idempotency-key']));
    expect([keys.size, [...keys][0]]).toEqual([1, expect.stringMatching(/^[0-9a-f]{32}$/)]);
    await catalogs.upload('shop', '{}', { idempotencyKey: 'mine' });
    expect(server.requests[3].headers['idempotency-key']).toBe('mine');
  });

  it('throw what their source throws, and do not try again', async () => {
    const server = await littleServer(answers(202, started));
    const { catalogs } = new EspalierClient({ url: server.url });
    const broken = new Error('the database is gone');
    const items = async function* () {
      yield { id: 'a' };
      throw broken;
    };
    await expect(catalogs.upload('shop', items)).rejects.toBe(broken);
    expect(server.requests.length).toBeLessThan(2);
  });
});

/** Answers each line with its history; a line that says so with an error. */
const echo: Behaviour = (_request, response, body) => {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  for (const line of body.trim().split('\n')) {
    const { history } = JSON.parse(line) as RecommendRequest;
    const answer =
      history![0] === '7' ? { error: { code: 'ESP_TIMEOUT', message: 'x' } } : { unknownItems: history };
    response.write(`${JSON.stringify(answer)}\n`);
  }
  response.end();
};
/** Answers one line, then cuts the connection. */
const cutAfterOne: Behaviour = (request, response) => {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  response.write('{"unknownItems": ["never"]}\n', () => setTimeout(() => request.socket.destroy(), 20));
};
/** Ends in order, but too early. */
const answersOne: Behaviour = (_request, response) => {
  response.end('{"unknownItems": ["never"]}\n');
};

describe('bulk', () => {
  const requests = function* (count: number) {
    for (let number = 0; number < count; number++) yield { catalog: 'c', history: [String(number)] };
  };

  it('gives every answer once and in order, across windows that broke off', async () => {
    const server = await littleServer(echo, cutAfterOne, answersOne, echo);
    const ids: string[] = [];
    for await (const answer of new EspalierClient({ url: server.url }).recommendBulk(requests(600))) {
      ids.push('error' in answer ? answer.error.code : answer.unknownItems[0]);
    }
    const expected = Array.from({ length: 600 }, (_, number) =>
      number === 7 ? 'ESP_TIMEOUT' : String(number),
    );
    expect(ids).toEqual(expected);
  });

  it('reads no further ahead than a window, and stops when its reader does', async () => {
    const server = await littleServer(echo);
    let taken = 0;
    const source = function* () {
      for (const request of requests(10_000)) {
        taken++;
        yield request;
      }
    };
    for await (const _ of new EspalierClient({ url: server.url }).recommendBulk(source())) break;
    expect(taken).toBeLessThanOrEqual(3 * 256);
    expect(server.requests.length).toBeLessThanOrEqual(2);
  });
});

describe('outputs', () => {
  const lines = Array.from({ length: 50 }, (_, index) => ({ line: index + 1, answer: 'é'.repeat(index) }));
  const bytes = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  /** Cuts the connection after so many bytes more, and in the midst of a character. */
  const cutAfter =
    (count: number, etag = '"a"'): Behaviour =>
    ({ headers, socket }, response) => {
      const [, from = '0'] = /^bytes=(\d+)-$/.exec(headers.range ?? '') ?? [];
      const start = headers['if-range'] === etag ? Number(from) : 0;
      const rest = bytes.subarray(start);
      response.writeHead(start > 0 ? 206 : 200, { etag, 'content-length': rest.length });
      response.write(rest.subarray(0, count), () => {
        if (count < rest.length) setTimeout(() => socket.destroy(), 20);
        else response.end();
      });
    };
  const read = async (url: string, retries: number) => {
    const found: unknown[] = [];
    for await (const line of new EspalierClient({ url, retries }).bulkJobs.output('j')) found.push(line);
    return found;
  };

  it('go on where they broke off, as often as something comes', async () => {
    const pieces = [0, 97, 1, 500, 501, 0, 300].map((count) => cutAfter(count));
    const server = await littleServer(...pieces, resets, cutAfter(1e6));
    expect(await read(server.url, 2)).toEqual(lines);
    const ranges = server.requests.map(({ headers }) => headers.range);
    expect(ranges.slice(0, 4)).toEqual([undefined, undefined, 'bytes=97-', 'bytes=98-']);
  });

  it('fail where nothing comes any more, or they are not what they were', async () => {
    const dead = await littleServer(cutAfter(100), resets);
    await expect(read(dead.url, 1)).rejects.toMatchObject({ code: 'CLIENT_CONNECTION' });
    expect(dead.requests).toHaveLength(2);
    const other = await littleServer(cutAfter(100), cutAfter(1e6, '"b"'));
    await expect(read(other.url, 3)).rejects.toMatchObject({ code: 'CLIENT_ANSWER' });
  });
});

describe('jobs', () => {
  const job = (state: string, more = {}) => ({ id: 'j', state, phase: state, fraction: 0, ...more });
  const events =
    (...jobs: object[]): Behaviour =>
    (_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(': hello\n\n');
      for (const one of jobs) response.write(`event: job\ndata: ${JSON.stringify({ job: one })}\n\n`);
      response.end();
    };

  it('are followed over a stream that ends too early, and one that is refused', async () => {
    const server = await littleServer(
      events(job('queued')),
      answers(200, { job: job('running') }),
      resets,
      answers(200, { job: job('running') }),
      events(job('running'), job('succeeded')),
    );
    const seen: string[] = [];
    const { jobs } = new EspalierClient({ url: server.url });
    const ended = await jobs.wait('j', { onProgress: ({ state }) => seen.push(state) });
    expect(ended.state).toBe('succeeded');
    expect(seen).toEqual(['queued', 'running', 'running', 'running', 'succeeded']);
    expect(server.requests.map(({ path }) => path)).toEqual(
      ['/events', '', '/events', '', '/events'].map((end) => `/v1/jobs/j${end}`),
    );
  });

  it('are followed while the server is away for longer than a call is tried again', async () => {
    const away: Behaviour[] = Array(9).fill(resets);
    const behindProxy = answers(502, '<html>bad gateway</html>');
    const server = await littleServer(
      events(job('running')),
      ...away,
      behindProxy,
      answers(200, { job: job('succeeded') }),
    );
    const { jobs } = new EspalierClient({ url: server.url, retries: 1 });
    expect((await jobs.wait('j', { timeoutMs: 60_000 })).state).toBe('succeeded');
    // One that never answered is no restart.
    const dead = await littleServer(resets);
    const waiting = new EspalierClient({ url: dead.url, retries: 0 }).jobs.wait('j');
    await expect(waiting).rejects.toMatchObject({ code: 'CLIENT_CONNECTION' });
  });

  it('are polled where that is asked for', async () => {
    const server = await littleServer(
      answers(200, { job: job('queued') }),
      answers(200, { job: job('succeeded') }),
    );
    await new EspalierClient({ url: server.url }).jobs.wait('j', { pollMs: 1 });
    expect(server.requests.map(({ path }) => path)).toEqual(['/v1/jobs/j', '/v1/jobs/j']);
  });

  it('that fail or are cancelled are errors with their code', async () => {
    const error = {
      code: 'ESP_UPLOAD_INVALID',
      message: 'bad',
      details: [{ line: 3, expected: 'a', found: 'b' }],
    };
    const server = await littleServer(events(job('failed', { error })), events(job('cancelled')));
    const { jobs } = new EspalierClient({ url: server.url });
    await expect(jobs.wait('j')).rejects.toMatchObject({ code: error.code, details: error.details });
    await expect(jobs.wait('j')).rejects.toMatchObject({ code: 'ESP_CANCELLED' });
  });

  it('that never end are waited for until the deadline, or the abort', async () => {
    const server = await littleServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(`data: ${JSON.stringify({ job: job('running') })}\n\n`);
    });
    const { jobs } = new EspalierClient({ url: server.url });
    await expect(jobs.wait('j', { timeoutMs: 100 })).rejects.toMatchObject({ code: 'CLIENT_TIMEOUT' });
    const reason = new Error('enough');
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 100);
    await expect(jobs.wait('j', { signal: controller.signal })).rejects.toBe(reason);
  });
});
