import type { FastifyRequest } from 'fastify';
import { type EspalierError, fieldError } from '../../errors.js';
import type { ChangeRequest } from '../change-request.js';

const MAX_ACTOR_LENGTH = 128;

/**
 * Who asks, as records and the audit log say it: the name of its API key, with what it calls itself (`X-Actor`) behind
 * it; without keys what it calls itself, which nobody checks.
 * @throws EspalierError ESP_REQUEST_INVALID on an X-Actor that is no name
 */
export function callerOf({ headers, principal }: FastifyRequest): string | null {
  const actor = actorOf(headers['x-actor']);
  const name = principal?.name ?? null;
  if (name === null) return actor;
  return actor === null ? name : `${name} (${actor})`;
}

/**
 * Who asks for a change, and under which condition: `X-Actor`, `If-Match`, `If-None-Match: *`.
 * @throws EspalierError ESP_REQUEST_INVALID on headers that mean something else.
 */
export function changeOf(request: FastifyRequest): ChangeRequest {
  const { headers } = request;
  const ifMatch = headers['if-match'];
  const ifNoneMatch = headers['if-none-match'];
  if (ifNoneMatch !== undefined && ifNoneMatch !== '*') throw refused('if-none-match', '*', ifNoneMatch);
  return {
    by: callerOf(request),
    ...(ifMatch !== undefined && { ifMatch: etagsOf(ifMatch) }),
    ...(ifNoneMatch !== undefined && { ifAbsent: true }),
  };
}

function actorOf(header: string | string[] | undefined): string | null {
  if (header === undefined) return null;
  const isName =
    typeof header === 'string' && /^[\x20-\x7e]+$/.test(header) && header.length <= MAX_ACTOR_LENGTH;
  if (isName) return header;
  throw refused('x-actor', `1 to ${MAX_ACTOR_LENGTH} visible ASCII characters`, String(header).slice(0, 200));
}

/** A weak tag never matches: the comparison is the strong one. */
function etagsOf(header: string): string[] {
  const tags = header.split(',').map((tag) => tag.trim());
  const bad = tags.find((tag) => tag !== '*' && !/^(W\/)?"[\x21\x23-\x7e]*"$/.test(tag));
  if (bad === undefined) return tags;
  throw refused('if-match', '* or ETags, as "4f1c…"', bad);
}

function refused(field: string, expected: string, found: string): EspalierError {
  return fieldError('ESP_REQUEST_INVALID', field, expected, found);
}
