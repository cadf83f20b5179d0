import { STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import {
  describe,
  type ErrorCode,
  type ErrorDetail,
  EspalierError,
  errorCatalogue,
  type PlainError,
} from '../../errors.js';
import { REQUEST_ID_HEADER } from '../logs/request-id.js';

/** Fastify's own errors that callers cause, as ours. */
const fastifyCodes: Record<string, ErrorCode> = {
  FST_ERR_CTP_INVALID_JSON_BODY: 'ESP_BODY_MALFORMED',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'ESP_BODY_MALFORMED',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'ESP_BODY_MALFORMED',
  FST_ERR_CTP_BODY_TOO_LARGE: 'ESP_BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'ESP_MEDIA_TYPE',
};

/** What Node finds wrong with a connection; anything else is malformed HTTP. */
const connectionCodes: Record<string, ErrorCode> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'ESP_REQUEST_STALLED',
  HPE_HEADER_OVERFLOW: 'ESP_HEADERS_TOO_LARGE',
};

const RETRY_AFTER_SECONDS = 1;

/** Turns anything thrown into the error answer; what is not meant for callers goes to the log only. */
export function handleError(
  thrown: FastifyError,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const error = toEspalierError(thrown, request);
  request.errorCode = error.code;
  if (error.statusCode >= 500) request.log.error({ err: thrown, code: error.code }, error.message);
  const retryAfterSeconds = retryAfterOf(error);
  if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds);
  if (error.code === 'ESP_UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer realm="espalier"');
  const internal = `something went wrong; the log has request ${request.id}`;
  return reply.code(error.statusCode).send({ error: publicError(error, internal) });
}

/** When trying again is worth while; undefined where that is not known to help. */
export function retryAfterOf({ retryAfterSeconds, statusCode }: EspalierError): number | undefined {
  return retryAfterSeconds ?? (statusCode === 503 ? RETRY_AFTER_SECONDS : undefined);
}

/** What callers may see of an error. @param internal the message in place of one that is not for them. */
export function publicError(error: EspalierError, internal = 'something went wrong'): PlainError {
  return error.code === 'ESP_INTERNAL' ? { code: error.code, message: internal } : error.toPlain();
}

export function notFound(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  request.errorCode = 'ESP_ROUTE_NOT_FOUND';
  const message = `there is no route ${request.method} ${request.url.split('?')[0]}; see /docs`;
  return reply.code(404).send({ error: { code: 'ESP_ROUTE_NOT_FOUND' satisfies ErrorCode, message } });
}

/**
 * What is not HTTP at all, or comes too slowly to be, gets our error too, and the connection is closed.
 * @returns its code; undefined where nobody hears it any more
 */
export function badConnection(thrown: NodeJS.ErrnoException, socket: Socket): ErrorCode | undefined {
  if (!socket.writable) return undefined;
  const code = connectionCodes[thrown.code ?? ''] ?? 'ESP_BODY_MALFORMED';
  const { statusCode } = errorCatalogue[code];
  const body = JSON.stringify({ error: { code, message: thrown.message } });
  socket.end(
    `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode]}\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
    // A client that goes on sending and does not close is not waited for.
    () => socket.destroySoon(),
  );
  return code;
}

export function badRequest(thrown: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const { message } = thrown;
  request.log.info({ err: thrown }, message);
  // No hook runs for what has no route.
  reply.header(REQUEST_ID_HEADER, request.id);
  reply.code(400).send({ error: { code: 'ESP_REQUEST_INVALID' satisfies ErrorCode, message } });
}

function toEspalierError(thrown: FastifyError, request: FastifyRequest): EspalierError {
  if (thrown instanceof EspalierError) return thrown;
  if (thrown.validation !== undefined) return invalidRequest(thrown.validation, request[placeOf(thrown)]);
  const code = fastifyCodes[thrown.code];
  if (code !== undefined) return new EspalierError(code, thrown.message, { cause: thrown });
  // Content that JSON.parse or its guard against __proto__ refuses.
  if (thrown instanceof SyntaxError && thrown.statusCode === 400) {
    return new EspalierError('ESP_BODY_MALFORMED', thrown.message, { cause: thrown });
  }
  return EspalierError.from(thrown);
}

export type Fault = NonNullable<FastifyError['validation']>[number];

/** What does not fit its schema. @param faults Ajv's, of which there is at least one; @param value what it checked */
export function invalidRequest(faults: readonly Fault[], value: unknown): EspalierError {
  const details = detailsOf(faults, value);
  const { field, expected, found } = details[0];
  return new EspalierError('ESP_REQUEST_INVALID', `${field}: expected ${expected}, found ${found}`, {
    details,
  });
}

/** Each fault with the path of its field, what was expected there, and what came. */
function detailsOf(faults: readonly Fault[], body: unknown): ErrorDetail[] {
  const details: ErrorDetail[] = [];
  for (const fault of faults) {
    const { keyword, instancePath, params } = fault;
    if (faults.some((union) => union.keyword === 'anyOf' && isCoveredBy(union, fault, faults))) continue;
    if (keyword === 'additionalProperties') {
      const field = fieldOf(`${instancePath}/${params.additionalProperty}`);
      details.push({ field, expected: 'no field of this name', found: String(params.additionalProperty) });
    } else if (keyword === 'required') {
      const field = fieldOf(`${instancePath}/${params.missingProperty}`);
      details.push({ field, expected: 'a value', found: 'nothing' });
    } else {
      const value = valueAt(body, instancePath);
      details.push({
        field: fieldOf(instancePath) || 'body',
        expected: expectation(fault),
        found: describe(value),
      });
    }
  }
  return details;
}

/**
 * A union has a fault of its own and those of its alternatives. Where the value has the type of just one of them, what
 * is wrong with that one says more; otherwise the union's says it for all.
 */
function isCoveredBy(union: Fault, fault: Fault, faults: readonly Fault[]): boolean {
  const isOf = ({ schemaPath }: Fault, path: string) => schemaPath.startsWith(`${path}/`);
  if (fault !== union && !isOf(fault, union.schemaPath)) return false;
  const alternatives = alternativesOf(union).map((_, index) => `${union.schemaPath}/${index}`);
  const meant = alternatives.filter(
    (path) => !faults.some(({ schemaPath }) => schemaPath === `${path}/type`),
  );
  return meant.length === 1 ? !isOf(fault, meant[0]) : fault !== union;
}

function expectation(fault: Fault): string {
  const { keyword, params, message } = fault;
  if (keyword === 'type') return `${params.type}`;
  if (keyword === 'pattern') return `text that matches ${params.pattern}`;
  if (keyword === 'enum') return `one of ${(params.allowedValues as string[]).join(', ')}`;
  if (keyword === 'anyOf') {
    return `one of ${[...new Set(alternativesOf(fault).map(({ type }) => type))].join(', ')}`;
  }
  return (message ?? keyword).replace(/^must /, 'to ').replace(/^to be /, '');
}

/** Ajv gives the schema along when it is verbose. */
function alternativesOf(union: Fault): { type?: string }[] {
  return (union as { schema?: unknown }).schema as { type?: string }[];
}

function placeOf({ validationContext }: FastifyError): 'body' | 'query' | 'params' | 'headers' {
  if (validationContext === 'querystring') return 'query';
  return (validationContext as 'body' | 'params' | 'headers' | undefined) ?? 'body';
}

/** `/constraint/include/3` → `constraint.include[3]`. */
function fieldOf(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part, index) => (/^\d+$/.test(part) ? `[${part}]` : index === 0 ? part : `.${part}`))
    .join('');
}

function valueAt(body: unknown, pointer: string): unknown {
  let value = body;
  for (const part of pointer.split('/').slice(1)) value = (value as Record<string, unknown> | null)?.[part];
  return value;
}
