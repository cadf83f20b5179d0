import { describe, expect, it } from 'vitest';
import type { RecommendAnswer } from '../../../src/decoder/index.js';
import { EspalierError } from '../../../src/errors.js';
import { BulkAnswers } from '../../../src/server/bulk/bulk-answers.js';

const line = '{"catalog": "c", "history": []}\n';

/** Streams over a decode queue that is full as often as it is told. */
function open(overloads: number) {
  let asked = 0;
  const answers = new BulkAnswers({
    recommend: {
      async recommend() {
        if (asked++ < overloads) throw new EspalierError('ESP_OVERLOADED', 'full');
        return { items: [] } as unknown as RecommendAnswer;
      },
    },
    concurrency: 2,
    maxLineBytes: 100,
    idleTimeoutMs: 10_000,
    onLine: () => {},
    onError: () => {},
    publicError: (error) => error.toPlain(),
  });
  async function* chunks() {
    yield Buffer.from(line);
  }
  const signal = new AbortController().signal;
  const read = async () => {
    const texts: string[] = [];
    for await (const text of answers.answers(chunks(), { requestId: 'r', signal, recheck: () => {} }))
      texts.push(text);
    return texts.map((text) => JSON.parse(text));
  };
  return { answers, read, asked: () => asked };
}

describe('a line that finds the decode queue full', () => {
  it('asks again until there is room', async () => {
    const { read, asked } = open(3);
    expect(await read()).toEqual([{ line: 1, items: [] }]);
    expect(asked()).toBe(4);
  });

  it('is given up when the server ends', async () => {
    const { answers, read } = open(Number.POSITIVE_INFINITY);
    const reading = read();
    await new Promise((resolve) => setTimeout(resolve, 20));
    answers.drain();
    expect((await reading)[0]).toMatchObject({ line: 1, error: { code: 'ESP_SHUTTING_DOWN' } });
  });
});
