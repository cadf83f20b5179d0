import { isUtf8 } from 'node:buffer';
import type { FastifyInstance } from 'fastify';
import { EspalierError } from '../../errors.js';
import { faultOfJson } from '../json-text.js';

/**
 * Takes JSON and nothing else: any other content type is a 415. It must be text as it stands, since bytes that are not
 * UTF-8, and halves of surrogate pairs, would silently become another text, and so another id; and no name may come
 * twice.
 */
export function acceptJsonOnly(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (request, body, done) => {
    const bytes = body as Buffer;
    if (!isUtf8(bytes)) return done(new EspalierError('ESP_BODY_MALFORMED', 'the body is not UTF-8'));
    const text = bytes.toString();
    void parse(request, text, (error, json) => done(error ?? faultOfJson(text) ?? null, json));
  });
}
