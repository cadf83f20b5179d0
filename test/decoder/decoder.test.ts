import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Decoder } from '../../src/decoder/decoder.js';
import { type Model, openModel } from '../../src/decoder/model.js';
import { buildTrie } from '../../src/static-trie/index.js';

const folder = new URL('../fixtures/models/table/1', import.meta.url).pathname;
let model: Model;
beforeAll(async () => {
  model = await openModel(folder, 1);
});
afterAll(() => model.close());

async function trieOf(codebookSizes: number[], codes: number[]) {
  const rowCount = codes.length / codebookSizes.length;
  return (await buildTrie({ codebookSizes, rowCount, codes: Uint16Array.from(codes) })).trie;
}

describe('the decoder as a library', () => {
  it('ranks every SID of a small trie by the sum of its log-probabilities', async () => {
    const trie = await trieOf([2, 3], [0, 0, 0, 2, 1, 1]);
    const [{ sids, scores }] = await new Decoder(model).decode([{ trie, tokens: [1], beamWidth: 10 }]);
    // The logits after a token are a row of the model's table, whatever came before.
    const row = async (token: number) => (await model.prefill([[token]]))[0].logits;
    const logProb = (logits: Float32Array, token: number) =>
      logits[token] - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
    const first = await row(1);
    const second = [await row(2), await row(3)];
    const expected = [
      [0, 0],
      [0, 2],
      [1, 1],
    ].map(([a, b]) => ({ sid: [a, b], score: logProb(first, 2 + a) + logProb(second[a], 4 + b) }));
    expected.sort((a, b) => b.score - a.score);
    expect(sids).toEqual(expected.map(({ sid }) => sid));
    expected.forEach(({ score }, rank) => {
      expect(scores[rank]).toBeCloseTo(score, 5);
    });
  });

  it('decodes inputs together as each alone, with a width for each level', async () => {
    const trie = await trieOf([2, 3], [0, 0, 0, 1, 1, 0, 1, 2]);
    const other = await trieOf([2, 3], [0, 1, 1, 1]);
    const inputs = [
      { trie, tokens: [1, 2, 4], beamWidth: [1, 3] },
      { trie: other, tokens: [1, 3, 5], beamWidth: 2, normalize: 'live' as const },
    ];
    const decoder = new Decoder(model);
    const together = await decoder.decode(inputs);
    const alone = [await decoder.decode([inputs[0]]), await decoder.decode([inputs[1]])];
    expect(together).toEqual([alone[0][0], alone[1][0]]);
    // One beam survives the first level, so that all SIDs share their first code.
    expect(new Set(together[0].sids.map(([code]) => code)).size).toBe(1);
    expect(await decoder.decode([])).toEqual([]);
  });

  it("refuses a trie of other codebooks, and widths that don't fit", async () => {
    const decoder = new Decoder(model);
    const trie = await trieOf([2, 4], [0, 3]);
    await expect(decoder.decode([{ trie, tokens: [1], beamWidth: 1 }])).rejects.toMatchObject({
      code: 'ESP_SHAPE',
      message: "the trie's codebooks must be the model's, [2, 3], found [2, 4]",
    });
    const fitting = await trieOf([2, 3], [0, 2]);
    for (const beamWidth of [0, 1025, [1], [1, 2, 3]]) {
      await expect(decoder.decode([{ trie: fitting, tokens: [1], beamWidth }])).rejects.toMatchObject({
        code: 'ESP_SHAPE',
      });
    }
  });
});
