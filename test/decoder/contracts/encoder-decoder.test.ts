import { expect, it } from 'vitest';
import { openModel } from '../../../src/decoder/model.js';
import { openOnnxGraph, type TensorValue } from '../../../src/decoder/onnx-graph.js';

const folder = new URL('../../fixtures/models/tiny-t5/1', import.meta.url).pathname;
const START = 7;

const int64 = (values: number[]): TensorValue => ({
  data: BigInt64Array.from(values, BigInt),
  dims: [1, values.length],
});

/** Logits after the last of `written`, by the graphs that keep no cache: float32 [vocabSize]. */
async function withoutCache(history: number[], written: number[]): Promise<Float32Array> {
  const encoder = await openOnnxGraph(`${folder}/encoder_model.onnx`, 1);
  const decoder = await openOnnxGraph(`${folder}/decoder_model.onnx`, 1);
  const mask = int64(history.map(() => 1));
  const encoded = await encoder.run(
    new Map([
      ['input_ids', int64(history)],
      ['attention_mask', mask],
    ]),
    new Map([['last_hidden_state', null]]),
  );
  const outputs = await decoder.run(
    new Map<string, TensorValue>([
      ['input_ids', int64(written)],
      ['encoder_attention_mask', mask],
      ['encoder_hidden_states', encoded.get('last_hidden_state')!],
    ]),
    new Map([['logits', null]]),
  );
  await encoder.close();
  await decoder.close();
  const { data, dims } = outputs.get('logits')!;
  return data.slice(-dims[2]);
}

it('writes with a cache what the decoder writes that reads everything again, from decoderStart on', async () => {
  const model = await openModel(folder, 1);
  const history = [1, 2, 20, 17, 6, 5, 4, 19, 3];
  const [prefill] = await model.prefill([history]);
  expectClose(prefill.logits, await withoutCache(history, [START]));
  const decoding = model.begin([prefill]);
  const step = (tokens: number[], parents: number[]) =>
    decoding.advance(
      {
        counts: Uint32Array.of(tokens.length),
        parents: Uint32Array.from(parents),
        tokens: Uint32Array.from(tokens),
      },
      false,
    );
  const first = await step([11, 20], [0, 0]);
  expectClose(first.data.subarray(first.vocabSize), await withoutCache(history, [START, 20]));
  const second = await step([23, 4, 9], [1, 0, 1]);
  expectClose(second.data.subarray(0, second.vocabSize), await withoutCache(history, [START, 20, 23]));
  expectClose(
    second.data.subarray(second.vocabSize, 2 * second.vocabSize),
    await withoutCache(history, [START, 11, 4]),
  );
  await model.close();
});

function expectClose(found: Float32Array, expected: Float32Array): void {
  expect(found).toHaveLength(expected.length);
  found.forEach((value, index) => {
    expect(value).toBeCloseTo(expected[index], 4);
  });
}
