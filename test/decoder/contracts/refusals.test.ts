import { describe, expect, it } from 'vitest';
import { openModel } from '../../../src/decoder/model.js';

const folder = (name: string) => new URL(`../../fixtures/models/${name}/1`, import.meta.url).pathname;

describe('a model that does not fit its contract', () => {
  it.each([
    ['past-fixed-batch', 'input_ids', 'int64 [dynamic, dynamic]', 'int64 [1, sequence]'],
    [
      'past-no-present',
      'present.1.value',
      'an output of this name',
      'logits, present.0.key, present.0.value, present.1.key, present.1.values',
    ],
    [
      'shared-other-heads',
      'prefill: context.0.key',
      'float32 [*, 2, *, 8]',
      'float32 [batch, 4, sequence, 4]',
    ],
    [
      'shared-no-context',
      'prefill: context.1.key',
      'an output of this name',
      expect.stringMatching('present.1.key'),
    ],
    ['shared-other-mask', 'step: attention_mask', "no other inputs than the contract's", 'attention_mask'],
    ['t5-no-hidden', 'encoder: last_hidden_state', 'an output of this name', 'hidden'],
    [
      't5-no-cross',
      'decoder: present.0.encoder.key',
      'an output of this name',
      expect.stringMatching('cross.0.key, present.0.encoder.value'),
    ],
    [
      't5-no-self-past',
      'decoderWithPast: past_key_values.0.decoder.key',
      'inputs past_key_values.{i}.decoder.key|value',
      expect.stringMatching('past_key_values.0.self.key'),
    ],
  ])('is refused: %s', async (name, field, expected, found) => {
    const refused = openModel(folder(name), 1);
    await expect(refused).rejects.toMatchObject({
      code: 'ESP_MODEL_MISFIT',
      details: expect.arrayContaining([{ field, expected, found }]),
    });
    await expect(refused).rejects.toThrow(`model ${name} does not fit: `);
  });
});

describe('whether histories of different lengths may share a batch', () => {
  it.each([
    // Positions are read off the past's length, which padding makes longer.
    ['learned-past-no-positions', false],
    // Padding is read as if it were history.
    ['near-past-no-mask', false],
    // Only distances count, and those padding doesn't change.
    ['near-past-no-positions', true],
    ['near-past', true],
    ['learned-past', true],
    ['learned-shared', true],
    ['tiny-t5', true],
    ['learned-logits', true],
  ])('%s: %s', async (name, expected) => {
    const model = await openModel(folder(name), 1);
    expect(model.batchesRagged).toBe(expected);
    await model.close();
  });

  it('is kept to: a model that cannot refuses such a batch, and decodes equal lengths', async () => {
    const model = await openModel(folder('near-past-no-mask'), 1);
    const prefills = await model.prefill([
      [1, 2, 3],
      [1, 2, 3, 4],
      [1, 9, 3],
    ]);
    expect(() => model.begin([prefills[0], prefills[1]])).toThrow(
      expect.objectContaining({ code: 'ESP_SHAPE' }),
    );
    const beams = {
      counts: Uint32Array.of(1, 1),
      parents: Uint32Array.of(0, 0),
      tokens: Uint32Array.of(5, 11),
    };
    const { data, firstRows, vocabSize } = await model.begin([prefills[0], prefills[2]]).advance(beams, true);
    const second = data.slice(firstRows[1] * vocabSize, (firstRows[1] + 1) * vocabSize);
    const [alone] = await model.prefill([[1, 9, 3, 11]]);
    second.forEach((value, token) => {
      expect(value).toBeCloseTo(alone.logits[token], 4);
    });
    await model.close();
  });
});
