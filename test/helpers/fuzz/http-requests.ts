import type { Random } from '../random.js';
import { fromSchema, type Schema, type Vocabulary } from './from-schema.js';
import { spoilBytes, spoilValue } from './spoil.js';

interface Operation {
  parameters?: { name: string; in: string; required?: boolean; schema: Schema }[];
  requestBody?: { content: Record<string, { schema?: Schema }> };
}

/** As `/openapi.json` gives it. */
export interface ApiDocument {
  paths: Record<string, Record<string, Operation>>;
}

export interface RawRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Buffer | undefined;
}

const HEADERS: readonly [string, readonly string[]][] = [
  ['if-match', ['*', '"x"', 'W/"x"', 'x', '"'.repeat(500)]],
  ['if-none-match', ['*', '"x"']],
  ['x-actor', ['me', '', 'x'.repeat(300)]],
  ['idempotency-key', ['a', 'b', ' ', 'x'.repeat(300)]],
  ['content-encoding', ['gzip', 'br', 'x']],
  [
    'content-type',
    [
      'text/plain',
      'application/x-ndjson',
      'text/csv',
      'multipart/form-data',
      'multipart/form-data; boundary=x',
      '/',
    ],
  ],
  ['authorization', ['Bearer x', 'Basic x', `Bearer ${'x'.repeat(5_000)}`]],
  ['x-request-id', ['a', 'x'.repeat(1_000)]],
  ['expect', ['100-continue']],
];

/** A request to one of the document's routes; most have something wrong with them. */
export function randomRequest(document: ApiDocument, random: Random, words: Vocabulary): RawRequest {
  const [route, operations] = random.pick(Object.entries(document.paths));
  const [verb, operation] = random.pick(Object.entries(operations));
  const method = random.chance(0.95)
    ? verb.toUpperCase()
    : random.pick(['PUT', 'PATCH', 'OPTIONS', 'DELETE']);
  const headers: Record<string, string> = {};
  const body = bodyOf(operation, headers, random, words);
  while (random.chance(0.2)) {
    const [name, values] = random.pick(HEADERS);
    headers[name] = random.pick(values);
  }
  return { method, path: pathOf(route, operation, random, words), headers, body };
}

function pathOf(route: string, { parameters = [] }: Operation, random: Random, words: Vocabulary): string {
  const path = route.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    random.chance(0.9)
      ? encodeURIComponent(random.pick(words[name] ?? words.name))
      : random.pick(['%ff', '%00', '..', '%2e%2e%2f', '', 'x'.repeat(4_000), '%F0%9F%8E%81', '1e9', '-1']),
  );
  const query = parameters
    .filter((parameter) => parameter.in === 'query' && random.chance(0.4))
    .map(
      ({ name, schema }) =>
        `${name}=${random.chance(0.7) ? fromSchema(schema, random, words, name) : random.pick(['%ff', '', 'x', '1&1=1'])}`,
    );
  if (random.chance(0.05)) query.push(random.pick(['unknown=1', '=', '&&', '%']));
  return query.length === 0 ? path : `${path}?${query.join('&')}`;
}

function bodyOf(
  { requestBody }: Operation,
  headers: Record<string, string>,
  random: Random,
  words: Vocabulary,
): Buffer | undefined {
  const [type, content] = random.pick(Object.entries(requestBody?.content ?? {})) ?? [];
  if (type === undefined) return random.chance(0.1) ? Buffer.from(random.pick(['{}', 'x', '[]'])) : undefined;
  headers['content-type'] = type;
  if (type !== 'application/json') return linesOf(random);
  let value = fromSchema(content?.schema ?? {}, random, words);
  while (random.chance(0.4)) value = spoilValue(value, random);
  const bytes = Buffer.from(JSON.stringify(value));
  return random.chance(0.2) ? spoilBytes(bytes, random) : bytes;
}

/** Something like an upload, in whatever format. */
function linesOf(random: Random): Buffer {
  const lines = Array.from({ length: random.below(6) }, (_, index) =>
    random.pick([
      `{"id":"${index}","sid":[${random.below(3)},${random.below(4)}],"price":1}`,
      `{"catalog":"small","history":["0-${index}"],"k":2}`,
      `{"id":"0-${index}"}`,
      'id,sid\n0-0,1-2',
      '{"id":"a","sid":[9,9]}',
      '{',
      '',
    ]),
  );
  const bytes = Buffer.from(`${lines.join('\n')}\n`);
  return random.chance(0.3) ? spoilBytes(bytes, random) : bytes;
}
