import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Model, openModel } from '../../../src/decoder/model.js';
import { decodeTogether, largestDifference, randomPlans } from '../../helpers/model-batches.js';
import { Random } from '../../helpers/random.js';
import { modelFolder } from '../../helpers/retail.js';
import { seeded } from '../../helpers/seed.js';

const fixture = (name: string) => new URL(`../../fixtures/models/${name}/1`, import.meta.url).pathname;

/** float32 sums in another order. */
const TOLERANCE = 1e-4;

const folders: Record<string, string> = {
  'learned-logits': fixture('learned-logits'),
  'learned-past': fixture('learned-past'),
  'learned-shared': fixture('learned-shared'),
  'near-logits': fixture('near-logits'),
  'near-past': fixture('near-past'),
  'near-past-no-positions': fixture('near-past-no-positions'),
  'near-shared': fixture('near-shared'),
  'tiny-t5': fixture('tiny-t5'),
  't5-retail': fixture('t5-retail'),
  'retail-logits': modelFolder('retail-logits'),
  retail: modelFolder('retail'),
  'retail-shared-context': modelFolder('retail-shared-context'),
};

/** Models of the same weights. The first keeps no state, and so has none to get wrong. */
const families = [
  ['learned-logits', 'learned-past', 'learned-shared'],
  ['near-logits', 'near-past', 'near-past-no-positions', 'near-shared'],
  ['retail-logits', 'retail', 'retail-shared-context'],
];

const caseOf = fc.record({
  seed: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  requests: fc.integer({ min: 1, max: 5 }),
  maxWidth: fc.integer({ min: 1, max: 6 }),
});

const models = new Map<string, Model>();
beforeAll(async () => {
  for (const [name, folder] of Object.entries(folders)) models.set(name, await openModel(folder, 1));
});
afterAll(async () => {
  for (const model of models.values()) await model.close();
});

describe('a batch of different histories, widths and ends', () => {
  it.each(Object.keys(folders))('decodes under %s as each request alone', async (name) => {
    const model = models.get(name)!;
    expect(model.batchesRagged).toBe(true);
    await fc.assert(
      fc.asyncProperty(caseOf, async ({ seed, requests, maxWidth }) => {
        const plans = randomPlans(new Random(seed), model, requests, maxWidth);
        const together = await decodeTogether(model, plans);
        for (const [request, plan] of plans.entries()) {
          const alone = await decodeTogether(model, [plan]);
          expect(largestDifference([together[request]], alone)).toBeLessThan(TOLERANCE);
        }
      }),
      seeded(`${name} in batches`, name.startsWith('retail') ? 8 : 40),
    );
  });

  it.each(families.map((names) => ({ names })))('decodes alike under $names', async ({ names }) => {
    const [reference, ...others] = names.map((name) => models.get(name)!);
    await fc.assert(
      fc.asyncProperty(caseOf, async ({ seed, requests, maxWidth }) => {
        const plans = randomPlans(new Random(seed), reference, requests, maxWidth);
        const expected = await decodeTogether(reference, plans);
        for (const other of others) {
          expect(largestDifference(await decodeTogether(other, plans), expected)).toBeLessThan(TOLERANCE);
        }
      }),
      seeded(`models like ${names[0]}`, names[0].startsWith('retail') ? 8 : 40),
    );
  });
});

describe('prefills', () => {
  it('serve several requests and several decodes, and stay as they were', async () => {
    for (const name of ['learned-past', 'learned-shared', 'learned-logits', 'tiny-t5']) {
      const model = models.get(name)!;
      const [plan] = randomPlans(new Random(5), model, 1, 3);
      const prefills = await model.prefill([plan.history, plan.history.slice(0, -3), plan.history]);
      expect(prefills[0].length).toBe(prefills[2].length);
      expect(prefills[0].bytes).toBeGreaterThan(prefills[1].bytes);
      const beams = {
        counts: Uint32Array.of(2, 1, 2),
        parents: new Uint32Array(5),
        tokens: new Uint32Array(5).fill(9),
      };
      const once = (
        await model.begin([prefills[0], prefills[1], prefills[0]]).advance(beams, false)
      ).data.slice();
      await model
        .begin([prefills[1]])
        .advance({ counts: Uint32Array.of(1), parents: beams.parents, tokens: beams.tokens }, true);
      const again = (await model.begin([prefills[0], prefills[1], prefills[2]]).advance(beams, true)).data;
      expect(largestDifference([[again]], [[once]])).toBeLessThan(TOLERANCE);
    }
  });

  it('come in the order of the histories, each as if read alone', async () => {
    for (const [name, model] of models) {
      const histories = randomPlans(new Random(11), model, 9, 1).map(({ history }) => history);
      const together = await model.prefill(histories);
      for (const [index, history] of histories.entries()) {
        const [alone] = await model.prefill([history]);
        expect(largestDifference([[together[index].logits]], [[alone.logits]]), name).toBeLessThan(TOLERANCE);
        expect(together[index]).toMatchObject({ length: alone.length, bytes: alone.bytes });
      }
    }
  });
});
