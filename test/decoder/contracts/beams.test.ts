import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Model, openModel } from '../../../src/decoder/model.js';

const names = ['learned-logits', 'learned-past', 'learned-shared', 'tiny-t5'];
const models = new Map<string, Model>();
beforeAll(async () => {
  for (const name of names) {
    models.set(
      name,
      await openModel(new URL(`../../fixtures/models/${name}/1`, import.meta.url).pathname, 1),
    );
  }
});
afterAll(async () => {
  for (const model of models.values()) await model.close();
});

describe.each(names)('beams of %s', (name) => {
  const history = [1, 2, 20, 17, 6, 5, 4, 19, 3];

  /** Two beams with tokens 11 and 20, then their children in the given order: [beams, vocabSize]. */
  async function decode(parents: number[], tokens: number[]): Promise<Float32Array[]> {
    const model = models.get(name)!;
    const [prefill] = await model.prefill([history]);
    const decoding = model.begin([prefill]);
    const counts = Uint32Array.of(2);
    await decoding.advance({ counts, parents: Uint32Array.of(0, 0), tokens: Uint32Array.of(11, 20) }, false);
    const beams = {
      counts: Uint32Array.of(parents.length),
      parents: Uint32Array.from(parents),
      tokens: Uint32Array.from(tokens),
    };
    const { data, vocabSize, firstRows } = await decoding.advance(beams, true);
    return parents.map((_, beam) => {
      const start = (firstRows[0] + beam) * vocabSize;
      return data.slice(start, start + vocabSize);
    });
  }

  const close = (left: Float32Array, right: Float32Array) =>
    left.every((value, index) => Math.abs(value - right[index]) < 1e-5);

  it('follow their parents, in any order', async () => {
    const [first, second] = await decode([0, 1], [4, 4]);
    const [swappedSecond, swappedFirst] = await decode([1, 0], [4, 4]);
    expect(close(first, swappedFirst)).toBe(true);
    expect(close(second, swappedSecond)).toBe(true);
    expect(close(first, second)).toBe(false);
  });

  it('that share a parent and a token are equal, and differ where the token does', async () => {
    const [one, other, third] = await decode([1, 1, 1], [23, 23, 9]);
    expect(close(one, other)).toBe(true);
    expect(close(one, third)).toBe(false);
  });
});
