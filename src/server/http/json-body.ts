import { isUtf8 } from 'node:buffer';
import type { FastifyInstance } from 'fastify';
import { EspalierError } from '../../errors.js';
import { findRepeatedName } from '../../static-trie/index.js';

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
    void parse(request, text, (error, json) => done(error ?? faultOf(text) ?? null, json));
  });
}

/** What is wrong with JSON that is well-formed. */
function faultOf(json: string): EspalierError | undefined {
  const lone = findLoneSurrogate(json);
  if (lone !== undefined) {
    return new EspalierError('ESP_BODY_MALFORMED', `${lone} is half of a character: it is in no text`);
  }
  const repeated = findRepeatedName(json);
  if (repeated === undefined) return undefined;
  const details = [{ field: repeated, expected: 'each name once', found: `${repeated} twice` }];
  return new EspalierError('ESP_REQUEST_INVALID', `the name ${repeated} comes twice in an object`, {
    details,
  });
}

/** JSON can spell with escapes what UTF-8 can't. @returns the escape of a surrogate that has no partner */
function findLoneSurrogate(json: string): string | undefined {
  if (!/\\u[dD][89a-fA-F]/.test(json)) return undefined;
  const pairs = /\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}/;
  const escapes = new RegExp(`${pairs.source}|\\\\u[0-9a-fA-F]{4}|\\\\.`, 'g');
  for (const [found] of json.matchAll(escapes)) {
    if (/^\\u[dD][89a-fA-F]..$/.test(found)) return found;
  }
  return undefined;
}
