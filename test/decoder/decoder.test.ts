import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DecodeInput } from '../../src/decoder/decode-input.js';
import { Decoder } from '../../src/decoder/decoder.js';
import { historyTokens } from '../../src/decoder/history-tokens.js';
import { type Model, openModel } from '../../src/decoder/model.js';
import { allBits, chooseKernel, jsSets, usableLevels } from '../../src/kernels/index.js';
import {
  buildStaticTrie,
  buildTrie,
  type ConstraintSet,
  constraintSetFromItems,
  prepareExclusions,
} from '../../src/static-trie/index.js';

const engineFixture = (name: string) =>
  new URL(`../fixtures/engine-models/${name}/1`, import.meta.url).pathname;
const fixture = (name: string) => new URL(`../fixtures/models/${name}/1`, import.meta.url).pathname;
let model: Model;
beforeAll(async () => {
  model = await openModel(fixture('table'), 1);
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

  it.each(['table', 'learned-shared', 'learned-past'])(
    'decodes with one model at a time, whoever asks: %s',
    async (name) => {
      const shared = await openModel(fixture(name), 1);
      const { codebookSizes } = shared.manifest.sid;
      const trie = await trieOf(codebookSizes, [
        ...codebookSizes.map(() => 0),
        ...codebookSizes.map(() => 1),
        ...codebookSizes.map((size) => size - 1),
      ]);
      const inputs = [1, 3, 2].map((items) => ({
        trie,
        tokens: historyTokens(shared, new Array(items).fill(codebookSizes.map(() => 1))),
        beamWidth: items,
      }));
      const [one, other] = [new Decoder(shared), new Decoder(shared)];
      const alone = [];
      for (const input of inputs) alone.push(await one.decode([input]));
      const broken = { prefill: () => Promise.reject(new Error('broken')) };
      const together = await Promise.allSettled([
        one.decode([inputs[0]]),
        other.decode([inputs[1]]),
        new Decoder({ ...shared, ...broken }).decode([inputs[1]]),
        one.decode([inputs[2]]),
        // What asked before it is still answered.
        shared.close(),
      ]);
      const values = together.map((result) => (result.status === 'fulfilled' ? result.value : 'failed'));
      expect(values).toEqual([alone[0], alone[1], 'failed', alone[2], undefined]);
    },
  );

  it("refuses a trie of other codebooks, and widths that don't fit", async () => {
    const decoder = new Decoder(model);
    const trie = await trieOf([2, 4], [0, 3]);
    await expect(decoder.decode([{ trie, tokens: [1], beamWidth: 1 }])).rejects.toMatchObject({
      code: 'ESP_SHAPE',
      message: "the trie's codebooks must be the model's, [2, 3], found [2, 4]",
    });
    const fitting = await trieOf([2, 3], [0, 2]);
    for (const beamWidth of [0, 1025, 2.5, Number.NaN, [1], [1, 1.5], [1, 2, 3]]) {
      await expect(decoder.decode([{ trie: fitting, tokens: [1], beamWidth }])).rejects.toMatchObject({
        code: 'ESP_SHAPE',
      });
    }
  });

  it.each(['js', usableLevels().at(-1)?.name ?? 'js'])(
    'refuses what is not its own or no number that it could be, and says where: %s',
    async (name) => {
      const decoder = new Decoder(model, chooseKernel(name));
      const { trie, leafItems } = buildStaticTrie({
        codebookSizes: [2, 3],
        rowCount: 2,
        codes: Uint16Array.of(0, 0, 1, 2),
      });
      const other = buildStaticTrie({
        codebookSizes: [2, 3],
        rowCount: 6,
        codes: Uint16Array.of(0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2),
      });
      const good = { trie, tokens: [1, 2, 4], beamWidth: 2 };
      const before = await decoder.decode([good]);
      const many = await trieOf([2, 70], Array.from({ length: 70 }, (_, code) => [0, code]).flat());
      const large = jsSets.deriveLiveLeaves(many, allBits(70));
      const cases: [Partial<DecodeInput>, string][] = [
        [
          { set: { live: large } as ConstraintSet },
          "set.leafBits: expected a Uint32Array of 2 words for the trie's 2 bits, found 4 words",
        ],
        [
          { exclusions: prepareExclusions(other.leafItems, null, [1, 4]) },
          "exclusions.dead.leaves[1]: expected ascending leaves below the trie's 2, found 4",
        ],
        [{ tokens: [] }, 'tokens: expected one or more, found none'],
        [{ tokens: [1, 7] }, 'tokens[1]: expected an integer from 0 to 6, found 7'],
        [{ tokens: [-1] }, 'tokens[0]: expected an integer from 0 to 6, found -1'],
        [{ tokens: [1, Number.NaN] }, 'tokens[1]: expected an integer from 0 to 6, found NaN'],
        [{ tokens: [1.5] }, 'tokens[0]: expected an integer from 0 to 6, found 1.5'],
        [{ normalize: 'foo' as 'live' }, 'normalize: expected one of vocabulary, level, live, found foo'],
        ...[0, -1, Number.NaN, 1e-46, Number.POSITIVE_INFINITY, 1e39].map(
          (temperature): [Partial<DecodeInput>, string] => [
            { temperature },
            `temperature: expected a finite number above 0, as a float32, found ${temperature}`,
          ],
        ),
      ];
      for (const [change, message] of cases) {
        await expect(decoder.decode([good, { ...good, ...change }])).rejects.toMatchObject({
          code: 'ESP_SHAPE',
          message: `input 1: ${message}`,
        });
      }
      expect(await decoder.decode([good])).toEqual(before);
      const set = constraintSetFromItems(trie, leafItems, Uint32Array.of(0b10, 0));
      expect((await decoder.decode([{ ...good, set }]))[0].sids).toEqual([[1, 2]]);
    },
  );

  it('gives what fails in the model as a typed error, and goes on', async () => {
    const failing = await openModel(engineFixture('failing'), 1);
    const decoder = new Decoder(failing);
    const trie = await trieOf([2, 3], [0, 0, 1, 2]);
    const good = { trie, tokens: [1, 2, 4], beamWidth: 2 };
    const before = await decoder.decode([good]);
    // Five tokens it cannot read at all, and with four it fails at the second step.
    for (const tokens of [
      [1, 2, 4, 2, 4],
      [1, 2, 4, 2],
    ]) {
      await expect(decoder.decode([{ ...good, tokens }])).rejects.toMatchObject({
        code: 'ESP_MODEL_MISFIT',
        message: expect.stringMatching(/^model failing failed as it ran: ./),
      });
    }
    expect(await decoder.decode([good])).toEqual(before);
    await failing.close();
    await failing.close();
    const closed = { code: 'ESP_MODEL_NOT_FOUND', message: 'model failing has been closed' };
    await expect(decoder.decode([good])).rejects.toMatchObject(closed);
  });
});
