import { EspalierError } from '../errors.js';
import type { StepBatch } from './step-batch.js';

/** What a step says of a request whose logits are not usable, or undefined. */
export function badLogitError(batch: StepBatch, request: number, depth: number): EspalierError | undefined {
  const beam = batch.badBeams[request];
  if (beam === -1) return undefined;
  const token = batch.badTokens[request];
  const value = batch.badValues[request];
  const message = `step ${depth}, beam ${beam}: the logit of token ${token} must be finite or -Infinity, found ${value}`;
  return new EspalierError('ESP_MODEL_OUTPUT', message, {
    details: [{ field: `logits[${beam}][${token}]`, expected: 'finite or -Infinity', found: String(value) }],
  });
}
