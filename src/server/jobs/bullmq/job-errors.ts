import { UnrecoverableError } from 'bullmq';
import { EspalierError, type PlainError } from '../../../errors.js';

/**
 * A failure as BullMQ keeps it: text, in which the whole error goes along. What the input or a cancel is to blame for
 * fails for good; anything else is tried again.
 */
export function toBullMq(thrown: unknown): Error {
  const error = EspalierError.from(thrown);
  const message = JSON.stringify(error.toPlain());
  return error.statusCode < 500 ? new UnrecoverableError(message) : new Error(message, { cause: thrown });
}

export function fromBullMq(failedReason: string): EspalierError {
  try {
    return EspalierError.fromPlain(JSON.parse(failedReason) as PlainError);
  } catch {
    // BullMQ's own words, which are no JSON.
    if (!failedReason.includes('stalled')) return new EspalierError('ESP_INTERNAL', failedReason);
    const message = 'every process that worked on the job ended in the middle of it';
    return new EspalierError('ESP_JOB_INTERRUPTED', message);
  }
}
