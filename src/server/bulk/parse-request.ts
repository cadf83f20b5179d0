import { EspalierError } from '../../errors.js';
import { faultOfJson } from '../json-text.js';
import { checkRequest } from '../recommend/check-request.js';
import type { RecommendRequest } from '../recommend/to-query.js';
import type { RequestLine } from './request-lines.js';

const decoder = new TextDecoder('utf-8', { fatal: true });

/** Whether a line says nothing, and is passed over. */
export function isBlank({ bytes }: RequestLine): boolean {
  return bytes?.every((byte) => byte === 0x20 || (byte >= 0x09 && byte <= 0x0d)) ?? false;
}

/**
 * The request of a line: what the same text would be as a body.
 * @param defaults fields that a line may leave out
 * @throws EspalierError ESP_BODY_TOO_LARGE, ESP_BODY_MALFORMED, ESP_REQUEST_INVALID
 */
export function parseRequest(
  { bytes }: RequestLine,
  maxLineBytes: number,
  defaults?: Partial<RecommendRequest>,
): RecommendRequest {
  if (bytes === null) {
    throw new EspalierError('ESP_BODY_TOO_LARGE', `the line has more than ${maxLineBytes} bytes`);
  }
  const text = decode(bytes);
  const value = parse(text);
  const fault = faultOfJson(text);
  if (fault !== undefined) throw fault;
  if (defaults === undefined || typeof value !== 'object' || value === null || Array.isArray(value)) {
    return checkRequest(value);
  }
  return checkRequest({ ...defaults, ...value });
}

function decode(bytes: Buffer): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new EspalierError('ESP_BODY_MALFORMED', 'the line is not UTF-8', { cause });
  }
}

function parse(text: string): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new EspalierError('ESP_BODY_MALFORMED', (cause as Error).message, { cause });
  }
  if (hasPrototype(text, value)) {
    throw new EspalierError('ESP_BODY_MALFORMED', 'the line has a name that stands for a prototype');
  }
  return value;
}

/** Escapes can hide the names from the first look, not from the second. */
function hasPrototype(text: string, value: unknown): boolean {
  if (!/__proto__|constructor|\\u/i.test(text)) return false;
  const open = [value];
  while (open.length > 0) {
    const one = open.pop();
    if (typeof one !== 'object' || one === null) continue;
    if (Object.hasOwn(one, '__proto__')) return true;
    const made: unknown = Object.hasOwn(one, 'constructor') ? one.constructor : null;
    if (typeof made === 'object' && made !== null && Object.hasOwn(made, 'prototype')) return true;
    for (const child of Object.values(one)) open.push(child);
  }
  return false;
}
