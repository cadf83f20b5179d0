import type { Answers } from './readers.js';
import type { Outcome } from './verdict.js';

/** Why what clients of one protocol got is no result; errors that are typed, and come now and then, are none. */
export function faultOf(
  { answers, violations, told, errors }: Pick<Answers, 'answers' | 'violations' | 'told' | 'errors'>,
  { ended, foundByServer, changes, changeErrors }: Outcome,
): string | undefined {
  if (violations > 0) return `${violations} answers broke their rule, the first: ${told[0]}`;
  if (ended !== undefined) return ended;
  if (foundByServer !== undefined && foundByServer > 0)
    return `the server itself found ${foundByServer} wrong items or beams`;
  for (const [code, count] of errors.counts) {
    if (code.startsWith('failure') || code === 'ESP_INTERNAL') return `${count} times: ${code}`;
  }
  for (const [code, count] of changeErrors) {
    const [change, fault] = code.split(': ', 2);
    if (fault === 'ESP_INTERNAL' || !changes.has(change)) return `${count} times: ${code}`;
  }
  return answers === 0 ? 'there was no answer' : undefined;
}
