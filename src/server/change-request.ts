import { createHash } from 'node:crypto';
import { canonicalJson } from '../decoder/index.js';
import { EspalierError } from '../errors.js';

/** Who asks for a change, and to which state of the resource it may be made. */
export interface ChangeRequest {
  /** As callers name themselves; null where they don't. */
  by: string | null;
  /** ETags of which the resource must have one, or `*`: it must exist. */
  ifMatch?: readonly string[];
  /** The resource must not exist yet. */
  ifAbsent?: boolean;
}

/** A strong ETag: equal for equal states alone. */
export function etagOf(state: unknown): string {
  const hash = createHash('sha256').update(canonicalJson(state)).digest('hex');
  return `"${hash.slice(0, 20)}"`;
}

/**
 * Refuses a change that was meant for another state than the one that is there.
 * @param etag null where there is no such resource.
 * @throws EspalierError ESP_PRECONDITION_FAILED
 */
export function checkPrecondition({ ifMatch, ifAbsent }: ChangeRequest, etag: string | null): void {
  if (ifAbsent === true && etag !== null) refuse('if-none-match', 'nothing there yet', etag);
  if (ifMatch === undefined) return;
  const isMatch = etag !== null && (ifMatch.includes('*') || ifMatch.includes(etag));
  if (!isMatch) refuse('if-match', ifMatch.join(', '), etag ?? 'nothing');
}

function refuse(field: string, expected: string, found: string): never {
  const message = `${field}: expected ${expected}, found ${found}; read it again, and decide anew`;
  throw new EspalierError('ESP_PRECONDITION_FAILED', message, { details: [{ field, expected, found }] });
}
