import { expect, it } from 'vitest';
import type { RecommendAnswer } from '../../../src/decoder/index.js';
import { EspalierError } from '../../../src/errors.js';
import { BulkAnswers } from '../../../src/server/bulk/bulk-answers.js';

/** A stream beside a decode queue that is full at the moments that a test wants. */

const line = '{"catalog":"small","history":[]}';
const full = () => new EspalierError('ESP_OVERLOADED', 'the request is refused: 4 wait already');

function answersOf(recommend: () => Promise<RecommendAnswer>) {
  const outcomes: string[] = [];
  const errors: string[] = [];
  const bulk = new BulkAnswers({
    recommend: { recommend },
    concurrency: 2,
    maxLineBytes: 1_000,
    idleTimeoutMs: 60_000,
    onLine: (outcome) => outcomes.push(outcome),
    onError: (code) => errors.push(code),
    publicError: (error) => error.toPlain(),
  });
  const read = async (recheck = () => {}) => {
    const chunks = (async function* () {
      yield Buffer.from(`${line}\n${line}\n`);
    })();
    const context = { requestId: 'a', signal: new AbortController().signal, recheck };
    const lines: { line: number; error?: { code: string } }[] = [];
    for await (const text of bulk.answers(chunks, context)) lines.push(JSON.parse(text));
    return lines;
  };
  return { bulk, outcomes, errors, read };
}

it('waits where the queue is full, and answers every line when there is room', async () => {
  let asked = 0;
  const { outcomes, read } = answersOf(async () => {
    asked++;
    if (asked <= 3) throw full();
    return { complete: true } as RecommendAnswer;
  });
  expect(await read()).toEqual([
    { line: 1, complete: true },
    { line: 2, complete: true },
  ]);
  expect([asked, outcomes]).toEqual([5, ['answered', 'answered']]);
});

it('does not ask again for what was refused for another reason', async () => {
  let asked = 0;
  const { outcomes, errors, read } = answersOf(async () => {
    asked++;
    throw new EspalierError('ESP_CATALOG_NOT_FOUND', 'there is no catalog small');
  });
  expect((await read()).map(({ error }) => error?.code)).toEqual([
    'ESP_CATALOG_NOT_FOUND',
    'ESP_CATALOG_NOT_FOUND',
  ]);
  expect([asked, outcomes]).toEqual([2, ['failed', 'failed']]);
  expect(errors).toEqual(['ESP_CATALOG_NOT_FOUND', 'ESP_CATALOG_NOT_FOUND']);
});

it('does not wait for room beyond the end of the server', async () => {
  let asked = 0;
  const { bulk, read } = answersOf(async () => {
    // While it is asked: the lines have been taken.
    bulk.drain();
    // Not for ever, so that asking again and again is seen.
    if (++asked > 10) return { complete: true } as RecommendAnswer;
    throw full();
  });
  const lines = await read();
  expect(new Set(lines.map(({ error }) => error?.code))).toEqual(new Set(['ESP_SHUTTING_DOWN']));
});

it('gives up a line that waits for room when the server ends', async () => {
  const { bulk, read } = answersOf(async () => {
    throw full();
  });
  const reading = read();
  await new Promise((resolve) => setTimeout(resolve, 20));
  bulk.drain();
  expect((await reading)[0]).toMatchObject({ line: 1, error: { code: 'ESP_SHUTTING_DOWN' } });
});

it('does not take a client who waits for an answer for one who is idle', async () => {
  const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const bulk = new BulkAnswers({
    recommend: { recommend: () => wait(700).then(() => ({ complete: true }) as RecommendAnswer) },
    concurrency: 2,
    maxLineBytes: 1_000,
    idleTimeoutMs: 400,
    onLine: () => {},
    onError: () => {},
    publicError: (error) => error.toPlain(),
  });
  const chunks = (async function* () {
    yield Buffer.from(`${line}\n`);
    // The first answer comes meanwhile.
    await wait(900);
    yield Buffer.from(`${line}\n`);
  })();
  const context = { requestId: 'a', signal: new AbortController().signal, recheck: () => {} };
  const lines: object[] = [];
  for await (const text of bulk.answers(chunks, context)) lines.push(JSON.parse(text));
  expect(lines).toEqual([
    { line: 1, complete: true },
    { line: 2, complete: true },
  ]);
});
