import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';

export const REQUEST_ID_HEADER = 'x-request-id';

/** Bounded, and of visible ASCII: it goes into logs, headers and messages as it is. */
const WELL_FORMED = /^[\x21-\x7e]{1,128}$/;

/** The id that the caller gives a request, where it is well-formed; otherwise a new one. */
export function requestIdOf(headers: IncomingHttpHeaders): string {
  const given = headers[REQUEST_ID_HEADER];
  return typeof given === 'string' && WELL_FORMED.test(given) ? given : randomUUID();
}
