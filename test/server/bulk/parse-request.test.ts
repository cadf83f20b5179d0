import { expect, it } from 'vitest';
import { parseRequest } from '../../../src/server/bulk/parse-request.js';

const line = (text: string | Buffer) => parseRequest({ number: 1, bytes: Buffer.from(text) }, 1_000);

it('gives the request of a line, pairs of surrogates among its text', () => {
  expect(line('{"catalog":"a","history":["\\ud83c\\udf81"]}')).toMatchObject({
    catalog: 'a',
    history: ['🎁'],
  });
});

it.each([
  ['bytes that are not UTF-8', Buffer.from([0x22, 0xff, 0x22]), 'ESP_BODY_MALFORMED'],
  ['half of a character', '{"catalog":"a","history":["\\ud83c"]}', 'ESP_BODY_MALFORMED'],
  ['a name that comes twice', '{"catalog":"a","k":1,"k":2,"history":[]}', 'ESP_REQUEST_INVALID'],
  ['a prototype', '{"catalog":"a","__proto__":{},"history":[]}', 'ESP_BODY_MALFORMED'],
  ['a hidden prototype', '{"catalog":"a","\\u005f_proto__":{},"history":[]}', 'ESP_BODY_MALFORMED'],
  ['what is no JSON', '{"catalog":', 'ESP_BODY_MALFORMED'],
  ['an unknown field', '{"catalog":"a","history":[],"constraints":{}}', 'ESP_REQUEST_INVALID'],
])('refuses %s, as a body would be', (_, text, code) => {
  expect(() => line(text)).toThrow(expect.objectContaining({ code }));
});
