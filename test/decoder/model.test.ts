import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { historyTokens } from '../../src/decoder/history-tokens.js';
import { openModel } from '../../src/decoder/model.js';
import { parseModelManifest } from '../../src/decoder/model-manifest.js';

const folder = (name: string) => new URL(`../fixtures/models/${name}/1`, import.meta.url).pathname;

describe('opening a model', () => {
  it('takes one that fits', async () => {
    const model = await openModel(folder('table'), 1);
    expect(model.vocabSize).toBe(7);
    await model.close();
  });

  it('takes one whose context is longer than a call may have arguments', async () => {
    const long = mkdtempSync(join(tmpdir(), 'espalier-long-'));
    cpSync(folder('table'), long, { recursive: true });
    const manifest = JSON.parse(readFileSync(join(long, 'model.json'), 'utf8'));
    const context = { ...manifest.context, maxItems: 80_000 };
    writeFileSync(join(long, 'model.json'), JSON.stringify({ ...manifest, context }));
    const model = await openModel(long, 1);
    expect(model.vocabSize).toBe(7);
    await model.close();
  });

  it.each([
    ['wrong-input-name', 'ESP_MODEL_MISFIT', 'input_ids', 'an input of this name', 'tokens'],
    [
      'wrong-input-type',
      'ESP_MODEL_MISFIT',
      'input_ids',
      'int64 [dynamic, dynamic]',
      'float32 [rows, sequence]',
    ],
    ['wrong-output-name', 'ESP_MODEL_MISFIT', 'logits', 'an output of this name', 'scores'],
    ['extra-input', 'ESP_MODEL_MISFIT', 'user_id', "no other inputs than the contract's", 'user_id'],
    [
      'no-past',
      'ESP_MODEL_MISFIT',
      'past_key_values.0.key',
      'inputs past_key_values.{i}.key|value',
      'input_ids',
    ],
    [
      'small-vocabulary',
      'ESP_MODEL_MISFIT',
      'tokens.levelOffsets[1]',
      "tokens below the model's vocabulary of 6",
      '6',
    ],
    ['short-context', 'ESP_MODEL_MISFIT', 'context.maxItems', 'a decode that runs', expect.any(String)],
    ['not-onnx', 'ESP_MODEL_MISFIT', 'files.model', 'a readable ONNX file', expect.any(String)],
    ['infinite', 'ESP_MODEL_OUTPUT', 'logits', 'finite or -Infinity', 'Infinity'],
  ])('refuses %s', async (name, code, field, expected, found) => {
    await expect(openModel(folder(name), 1)).rejects.toMatchObject({
      code,
      details: expect.arrayContaining([{ field, expected, found }]),
    });
  });

  it('refuses a folder without a manifest', async () => {
    await expect(openModel(folder('nowhere'), 1)).rejects.toMatchObject({ code: 'ESP_MODEL_NOT_FOUND' });
  });
});

describe('the manifest', () => {
  const manifest = {
    name: 'm',
    contract: 'logits',
    files: { model: 'model.onnx' },
    sid: { codebookSizes: [2, 3] },
    tokens: { bos: 1, levelOffsets: [2, 4] },
    context: { maxItems: 3, order: 'oldestFirst' },
  };

  it.each([
    ['an unknown contract', { contract: 'seq2seq' }, 'contract'],
    ['a path instead of a file name', { files: { model: '../model.onnx' } }, 'files.model'],
    ['a missing file', { contract: 'shared-context', files: { prefill: 'prefill.onnx' } }, 'files.step'],
    ['a file that the contract has no use for', { files: { model: 'm.onnx', step: 's.onnx' } }, 'files.step'],
    [
      'an encoder-decoder that begins with nothing',
      {
        contract: 'encoder-decoder',
        files: { encoder: 'e.onnx', decoder: 'd.onnx', decoderWithPast: 'p.onnx' },
      },
      'tokens.decoderStart',
    ],
    [
      'a start for a model that has no decoder of its own',
      { tokens: { levelOffsets: [2, 4], decoderStart: 0 } },
      'tokens.decoderStart',
    ],
    ['an unknown field', { tokenizer: {} }, 'model.json'],
    ['no codebooks', { sid: { codebookSizes: [] } }, 'sid.codebookSizes'],
    ['neither offsets nor tables', { tokens: { bos: 1 } }, 'tokens'],
    [
      'both offsets and tables',
      {
        tokens: {
          levelOffsets: [2, 4],
          levelTokens: [
            [2, 3],
            [4, 5, 6],
          ],
        },
      },
      'tokens',
    ],
    ['offsets for another number of levels', { tokens: { levelOffsets: [2] } }, 'tokens.levelOffsets'],
    [
      'a table of the wrong length',
      {
        tokens: {
          levelTokens: [
            [2, 3],
            [4, 5],
          ],
        },
      },
      'tokens.levelTokens[1]',
    ],
  ])('refuses %s', (_, change, field) => {
    expect(() => parseModelManifest(JSON.stringify({ ...manifest, ...change }))).toThrow(
      expect.objectContaining({
        code: 'ESP_MODEL_MANIFEST',
        details: expect.arrayContaining([expect.objectContaining({ field })]),
      }),
    );
  });

  it('refuses a token twice in one level, and takes one in two', () => {
    const parse = (levelTokens: number[][]) =>
      parseModelManifest(JSON.stringify({ ...manifest, tokens: { levelTokens } }));
    const found = '4 for codes 0 and 2';
    const field = 'tokens.levelTokens[1]';
    expect(() =>
      parse([
        [4, 3],
        [4, 5, 4],
      ]),
    ).toThrow(
      expect.objectContaining({
        code: 'ESP_MODEL_MANIFEST',
        message: `model.json: ${field}: expected another token for each code, found ${found}`,
        details: [{ field, expected: 'another token for each code', found }],
      }),
    );
    expect(
      parse([
        [4, 3],
        [4, 5, 6],
      ]).tokens.levelTokens,
    ).toHaveLength(2);
  });

  it('refuses text that is not JSON', () => {
    expect(() => parseModelManifest('{')).toThrow(expect.objectContaining({ code: 'ESP_MODEL_MANIFEST' }));
  });

  it('says what the model reads: bos, prefix, the last items in order, suffix', () => {
    const tokens = {
      bos: 1,
      prefix: [90],
      suffix: [91, 92],
      levelTokens: [
        [2, 3],
        [6, 5, 4],
      ],
    };
    const parsed = parseModelManifest(
      JSON.stringify({ ...manifest, tokens, context: { maxItems: 2, order: 'newestFirst' } }),
    );
    const levelTokens = [{ table: Uint32Array.of(2, 3) }, { table: Uint32Array.of(6, 5, 4) }];
    const sids = [
      [0, 0],
      [1, 1],
      [0, 2],
    ];
    expect(historyTokens({ manifest: parsed, levelTokens }, sids)).toEqual([1, 90, 2, 4, 3, 5, 91, 92]);
  });
});
