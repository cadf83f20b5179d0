import type { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import parseRange from 'range-parser';
import { EspalierError } from '../../errors.js';
import type { Download } from '../bulk/download.js';

/**
 * Answers with a download, or with the part that `Range` asks for, so that one which broke off can go on. Several parts
 * at once, another unit, and a part of what `If-Range` does not name are answered with the whole, as RFC 9110 allows.
 * @throws EspalierError ESP_RANGE on a part that is not there
 */
export function sendRange(
  { headers }: FastifyRequest,
  reply: FastifyReply,
  { bytes, etag, read }: Download,
): Readable {
  const { range, 'if-range': ifRange = etag } = headers;
  reply.headers({ 'accept-ranges': 'bytes', etag });
  const parts = range === undefined || ifRange !== etag ? -2 : parseRange(bytes, range);
  if (parts === -1) {
    reply.header('content-range', `bytes */${bytes}`);
    throw new EspalierError('ESP_RANGE', `range: expected a part of ${bytes} bytes, found ${range}`);
  }
  const [part] = parts === -2 || parts.type !== 'bytes' || parts.length !== 1 ? [] : parts;
  if (part === undefined) {
    reply.header('content-length', bytes);
    return read(0, bytes);
  }
  const { start, end } = part;
  reply.code(206).headers({
    'content-length': end - start + 1,
    'content-range': `bytes ${start}-${end}/${bytes}`,
  });
  return read(start, end + 1);
}
