import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, createServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { type Drainable, drainAll, drainHttp2 } from '../../src/server/drain.js';

const clients: ClientHttp2Session[] = [];
afterEach(() => {
  for (const client of clients.splice(0)) client.destroy();
});

/** A server that answers `/` at once, and any other path when told to. */
async function start() {
  const server = createServer();
  const answers: (() => void)[] = [];
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    const answer = () => {
      stream.respond();
      stream.end('done');
    };
    if (headers[':path'] === '/') answer();
    else answers.push(answer);
  });
  const drainable = drainHttp2(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const open = async () => {
    const client = connect(url);
    client.on('error', () => {});
    clients.push(client);
    expect(await text(client.request({ ':path': '/' }))).toBe('done');
    return client;
  };
  return { drainable, answers, open, url };
}

/** A stream that the server has and has not answered. */
async function begin(client: ClientHttp2Session, answers: unknown[]): Promise<ClientHttp2Stream> {
  const before = answers.length;
  const stream = client.request({ ':path': '/slow' });
  stream.on('error', () => {});
  while (answers.length === before) await sleep(5);
  return stream;
}

it('closes idle HTTP/2 sessions at once, and one with a stream when that has ended', async () => {
  const { drainable, answers, open, url } = await start();
  const [idle, busy] = [await open(), await open()];
  const stream = await begin(busy, answers);
  const told = Promise.all([once(idle, 'close'), once(busy, 'goaway')]);
  let isClosed = false;
  const closed = drainable.close(60_000).then(() => {
    isClosed = true;
  });
  await told;
  expect([isClosed, busy.destroyed]).toEqual([false, false]);
  const refused = connect(url);
  clients.push(refused);
  await expect(once(refused, 'connect')).rejects.toThrow('ECONNREFUSED');
  answers[0]();
  expect(await text(stream)).toBe('done');
  await closed;
  expect(busy.closed).toBe(true);
});

it('cuts off streams that have not ended after the grace', async () => {
  const { drainable, answers, open } = await start();
  const stream = await begin(await open(), answers);
  const ended = new Promise((resolve) => stream.once('close', resolve));
  await drainable.close(50);
  await ended;
  expect(stream.rstCode).not.toBe(0);
});

it('closes everything that listens at the same time', async () => {
  const order: string[] = [];
  const graces: number[] = [];
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const slow: Drainable = {
    async close(graceMs) {
      graces.push(graceMs);
      await released;
      order.push('slow');
    },
  };
  const quick: Drainable = {
    async close(graceMs) {
      graces.push(graceMs);
      order.push('quick');
      release();
    },
  };
  await drainAll([slow, quick], 7);
  expect([order, graces]).toEqual([
    ['quick', 'slow'],
    [7, 7],
  ]);
});
