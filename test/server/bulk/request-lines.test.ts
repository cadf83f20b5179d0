import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { requestLines } from '../../../src/server/bulk/request-lines.js';
import { seeded } from '../../helpers/seed.js';

async function linesOf(chunks: readonly Uint8Array[], maxLineBytes: number, firstNumber = 1) {
  async function* stream() {
    for (const chunk of chunks) yield Buffer.from(chunk);
  }
  const lines: [number, string | null][] = [];
  for await (const { number, bytes } of requestLines(stream(), maxLineBytes, firstNumber)) {
    lines.push([number, bytes === null ? null : bytes.toString('latin1')]);
  }
  return lines;
}

describe('requestLines', () => {
  it('passes over lines that are too long, and counts them', async () => {
    const text = Buffer.from('abc\nabcd\n\nab');
    for (const size of [1, 2, 3, 100]) {
      const chunks = Array.from({ length: Math.ceil(text.length / size) }, (_, index) =>
        text.subarray(index * size, (index + 1) * size),
      );
      expect(await linesOf(chunks, 3, 7)).toEqual([
        [7, 'abc'],
        [8, null],
        [9, ''],
        [10, 'ab'],
      ]);
      expect(await linesOf([Buffer.from('a\nbbbb')], 3)).toEqual([
        [1, 'a'],
        [2, null],
      ]);
    }
  });

  it('finds the same lines however the bytes come', async () => {
    const line = fc.string({ unit: fc.constantFrom('a', 'b', ' '), maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(fc.array(line), fc.array(fc.nat(40)), fc.boolean(), async (texts, cuts, endsOpen) => {
        const bytes = Buffer.from(texts.map((text) => `${text}\n`).join('') + (endsOpen ? 'end' : ''));
        const places = [0, ...cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b), bytes.length];
        const chunks = places.slice(1).map((end, index) => bytes.subarray(places[index], end));
        const expected = [...texts, ...(endsOpen ? ['end'] : [])].map((text, index) => [
          index + 1,
          text.length > 5 ? null : text,
        ]);
        expect(await linesOf(chunks, 5)).toEqual(expected);
      }),
      seeded('lines of requests', 100),
    );
  });
});
