import { EspalierError } from '../errors.js';
import { findRepeatedName } from '../static-trie/index.js';

/**
 * What is wrong with a text that is well-formed JSON: a half of a surrogate pair, which is in no text and would silently
 * become another one, and so another id; a name that comes twice, of which one would be dropped.
 */
export function faultOfJson(json: string): EspalierError | undefined {
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
