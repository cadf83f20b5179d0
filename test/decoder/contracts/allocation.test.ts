import { afterEach, expect, it, vi } from 'vitest';
import { decode, randomRequest } from '../../../bench/model/decode.js';
import { openModel } from '../../../src/decoder/model.js';
import { Random } from '../../helpers/random.js';
import { modelFolder } from '../../helpers/retail.js';

const t5 = new URL('../../fixtures/models/t5-retail/1', import.meta.url).pathname;

/** A step's logits are 38,500 numbers at beam 50; the keys and values of decoder-with-past 5 million. */
const LARGE = 2_000;

afterEach(() => {
  vi.unstubAllGlobals();
});

it.each([
  ['retail-shared-context', modelFolder('retail-shared-context')],
  ['retail', modelFolder('retail')],
  ['t5-retail', t5],
])('warm steps of %s make no large array', async (_, folder) => {
  const model = await openModel(folder, 1);
  const random = new Random(1);
  const request = randomRequest(model, 6, 50, () => random.uniform());
  await decode(model, [request]);
  const prefills = await model.prefill([request.history]);
  const large: number[] = [];
  for (const name of ['Float32Array', 'Uint32Array', 'Int32Array', 'BigInt64Array'] as const) {
    const construct = (target: new (...args: unknown[]) => { length: number }, args: unknown[]) => {
      const made = new target(...args);
      if (made.length > LARGE) large.push(made.length);
      return made;
    };
    vi.stubGlobal(name, new Proxy(globalThis[name], { construct: construct as never }));
  }
  const decoding = model.begin(prefills);
  for (const [step, { parents, tokens }] of request.steps.entries()) {
    const isLast = step === request.steps.length - 1;
    await decoding.advance({ counts: Uint32Array.of(parents.length), parents, tokens }, isLast);
  }
  expect(large).toEqual([]);
  await model.close();
});
