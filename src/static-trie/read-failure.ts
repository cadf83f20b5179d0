import { basename } from 'node:path';
import { EspalierError } from '../errors.js';
import { isSystemError } from './durable-file.js';

/** Which a process lacks, whatever file it opens. */
const OWN_LACKS = ['EMFILE', 'ENFILE', 'ENOMEM'];

/**
 * What opening or reading a file of the data directory has thrown, as an error for callers: one that cannot be opened at
 * all, such as one that is gone, is as bad as a damaged one. Anything else is returned as it is.
 */
export function readFailure(path: string, thrown: unknown): unknown {
  if (!isSystemError(thrown) || OWN_LACKS.includes(thrown.code!)) return thrown;
  // What follows the comma may be a path.
  const [reason] = thrown.message.split(',');
  const message = `${basename(path)} cannot be read: ${reason}`;
  return new EspalierError('ESP_ARTIFACT_CORRUPT', message, { cause: thrown });
}

/** @throws EspalierError ESP_ARTIFACT_CORRUPT as `readFailure` makes it */
export function orReadFailure<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (thrown) {
    throw readFailure(path, thrown);
  }
}
