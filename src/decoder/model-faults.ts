import { type ErrorDetail, EspalierError } from '../errors.js';
import type { LevelTokens } from '../kernels/index.js';
import type { ModelManifest } from './model-manifest.js';

/** @throws EspalierError ESP_MODEL_MISFIT where there are faults; its message tells the first. */
export function refuseMisfit(name: string, details: ErrorDetail[]): void {
  if (details.length === 0) return;
  const { field, expected, found } = details[0];
  const message = `model ${name} does not fit: ${field}: expected ${expected}, found ${found}`;
  throw new EspalierError('ESP_MODEL_MISFIT', message, { details });
}

/** Tokens of the manifest that the model has no logits for. */
export function checkVocabulary(
  manifest: ModelManifest,
  levelTokens: readonly LevelTokens[],
  vocabSize: number,
): ErrorDetail[] {
  const { bos, eos, pad, decoderStart, prefix = [], suffix = [] } = manifest.tokens;
  const faults: ErrorDetail[] = [];
  const check = (field: string, token: number) => {
    if (token < vocabSize) return;
    const expected = `tokens below the model's vocabulary of ${vocabSize}`;
    faults.push({ field, expected, found: String(token) });
  };
  for (const [field, token] of Object.entries({ bos, eos, pad, decoderStart })) {
    if (token !== undefined) check(`tokens.${field}`, token);
  }
  for (const token of prefix) check('tokens.prefix', token);
  for (const token of suffix) check('tokens.suffix', token);
  levelTokens.forEach((tokens, level) => {
    if ('table' in tokens) {
      const largest = tokens.table.reduce((a, b) => Math.max(a, b));
      check(`tokens.levelTokens[${level}]`, largest);
    } else {
      check(`tokens.levelOffsets[${level}]`, tokens.offset + manifest.sid.codebookSizes[level] - 1);
    }
  });
  return faults;
}

/** @throws EspalierError ESP_MODEL_MISFIT, ESP_MODEL_OUTPUT */
export function checkLogits(name: string, logits: Float32Array, rows: number, vocabSize: number): void {
  if (logits.length !== rows * vocabSize) {
    const expected = `${rows} rows of ${vocabSize} logits`;
    refuseMisfit(name, [{ field: 'logits', expected, found: `${logits.length} numbers` }]);
  }
  const bad = logits.findIndex((value) => !(value < Number.POSITIVE_INFINITY));
  if (bad < 0) return;
  throw new EspalierError(
    'ESP_MODEL_OUTPUT',
    `model ${name}: the logit of token ${bad % vocabSize} must be finite or -Infinity, found ${logits[bad]}`,
    { details: [{ field: 'logits', expected: 'finite or -Infinity', found: String(logits[bad]) }] },
  );
}

export function firstLine(thrown: unknown): string {
  return (thrown instanceof Error ? thrown.message : String(thrown)).split('\n')[0];
}
