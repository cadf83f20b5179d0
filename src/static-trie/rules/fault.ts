import { type ErrorCode, EspalierError } from '../../errors.js';

/** An error at one place of a rule; `position` is a 0-based offset in UTF-16 code units. */
export function fault(
  code: ErrorCode,
  position: number,
  expected: string,
  found: string,
  options: { cause?: unknown } = {},
): EspalierError {
  return new EspalierError(code, `position ${position}: expected ${expected}, found ${found}`, {
    details: [{ position, expected, found }],
    ...options,
  });
}
