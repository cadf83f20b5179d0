import { commonErrors, errorsOf, isError, isErrorOnly, type RouteErrors, rowsOf } from './errors.js';
import { exampleOf, type Field, fieldsOf, type Schema, typeOf } from './schema.js';

export type Content = Record<string, { schema?: Schema }>;
interface Parameter {
  in: 'path' | 'query' | 'header';
  name: string;
  required?: boolean;
  description?: string;
  schema: Schema;
}
export interface Operation {
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: Parameter[];
  requestBody?: { required?: boolean; content: Content };
  security?: Record<string, string[]>[];
  responses: Record<string, { description?: string; content?: Content }>;
}
export interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
  components?: { schemas?: Record<string, Schema> };
}

/** What a path's names stand for in the examples. */
const PATH_EXAMPLES: Record<string, string> = {
  catalog: 'shop',
  set: 'sale',
  model: 'my-model',
  version: '1',
  id: '85123A',
};
const JOB_ID = '3f0c7f6e-6a43-4a49-9d5e-0d6f5a3c1b2a';

/** docs/http-api.md from the server's OpenAPI document: every route, in the order of its groups. */
export function httpApiPage(document: OpenApi): string {
  const { paths } = resolveRefs(document, document.components?.schemas ?? {}) as OpenApi;
  const common = commonErrors(
    Object.values(paths).flatMap((operations) =>
      Object.entries(operations).map(([method, operation]) => ({ method, operation })),
    ),
  );
  const groups = new Map<string, string[]>();
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(operations)) {
      const group = operation.tags?.[0] ?? 'other';
      groups.set(group, [
        ...(groups.get(group) ?? []),
        route(method.toUpperCase(), path, operation, common.codes),
      ]);
    }
  }
  const sections = Array.from(groups, ([group, routes]) => [`## ${capital(group)}`, ...routes].join('\n\n'));
  return `${[INTRODUCTION, table(['errors of', 'status', 'codes'], common.rows), ...sections].join('\n\n')}\n`;
}

const INTRODUCTION = `# HTTP API

<!-- Written by scripts/generate-docs.ts from the routes' schemas; edit those. -->

The same as \`/openapi.json\` and \`/docs\` of a running server. [client.md](client.md) has a client for it.

- JSON in and out, with \`content-type: application/json\`. A field, a query or a body that a route does not read is an
  error, and so is a name that comes twice in an object.
- Every answer that is not a success is \`{"error": {"code", "message", "details"?}}\`: [errors.md](errors.md) lists the
  codes, and what to do about them. Below, each route has those that are not in the table. \`503\` and \`429\` come with
  \`Retry-After\`.
- Where the server has keys, a route needs one of the scope that it names, or of \`admin\`.
- Changes take \`X-Actor\` (who does it), and where the answer has an \`ETag\`, \`If-Match\` and \`If-None-Match: *\`.`;

function route(method: string, path: string, operation: Operation, common: ReadonlySet<string>): string {
  const { summary, description, parameters = [], requestBody, responses } = operation;
  const parts = [
    `### ${method} ${path}`,
    sentence(summary ?? ''),
    sentence(description ?? ''),
    scope(operation),
  ];
  if (parameters.length > 0) {
    parts.push(
      table(
        ['parameter', 'in', 'type', '', 'meaning'],
        parameters.map(({ name, in: place, schema, required, description: text }) => [
          `\`${name}\``,
          place,
          typeOf(schema),
          requirement(required ?? false, schema.default),
          text ?? '',
        ]),
      ),
    );
  }
  if (requestBody !== undefined) parts.push(body(requestBody.content, requestBody.required ?? false));
  parts.push(...Object.entries(responses).map(([status, { content }]) => answer(status, content ?? {})));
  parts.push(errors(errorsOf(operation), common));
  parts.push(`\`\`\`sh\n${curl(method, path, parameters, requestBody?.content)}\n\`\`\``);
  return parts.filter((part) => part !== '').join('\n\n');
}

function body(content: Content, isRequired: boolean): string {
  const json = content['application/json']?.schema;
  if (json !== undefined) return `Body${isRequired ? '' : ' (optional)'}:\n\n${fields(json)}`;
  const rows = Object.entries(content).map(([type, { schema }]) => [
    `\`${type}\``,
    schema?.description ?? '',
  ]);
  return table(['body', ''], rows);
}

function answer(status: string, content: Content): string {
  if (isErrorOnly(content)) return '';
  const [entry] = Object.entries(content);
  if (entry === undefined) return `Answers \`${status}\` without a body.`;
  const [type, { schema: whole = {} }] = entry;
  // What else the status can mean beside an error.
  const schema = whole.anyOf?.find((one) => !isError(one)) ?? whole;
  if (type !== 'application/json') return `Answers \`${status}\` with \`${type}\`.`;
  if (schema.properties === undefined) return `Answers \`${status}\` with ${typeOf(schema)}.`;
  return `<details><summary>Answers <code>${status}</code></summary>\n\n${fields(schema)}\n\n</details>`;
}

/** The key that a route needs; nothing where it needs none. */
function scope({ security = [] }: Operation): string {
  const [key] = security;
  if (key === undefined) return '';
  const [name] = Object.values(key).flat();
  return name === undefined ? 'Needs a key of any scope.' : `Needs a key of the scope \`${name}\`.`;
}

/** Those that a route has beside the common ones. */
function errors(found: RouteErrors, common: ReadonlySet<string>): string {
  const rows = rowsOf(found.filter(({ code }) => !common.has(code)));
  return rows.length === 0 ? '' : table(['error', 'codes'], rows);
}

function fields(schema: Schema): string {
  const row = ({ path, type, isRequired, default: value, description }: Field) => [
    `\`${path}\``,
    type,
    requirement(isRequired, value),
    description,
  ];
  return table(['field', 'type', '', 'meaning'], fieldsOf(schema).map(row));
}

function requirement(isRequired: boolean, value: unknown): string {
  if (value !== undefined) return `default \`${JSON.stringify(value)}\``;
  return isRequired ? 'required' : '';
}

function curl(method: string, path: string, parameters: Parameter[], content: Content = {}): string {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) =>
    path.includes('/jobs/') ? JOB_ID : (PATH_EXAMPLES[name] ?? name),
  );
  const required = parameters.filter((one) => one.in === 'query' && one.required);
  const query = required.map(({ name, schema }) => `${name}=${exampleOf(schema, name)}`).join('&');
  const url = `localhost:8080${filled}${query === '' ? '' : `?${query}`}`;
  const verb = method === 'GET' ? '' : ` -X ${method}`;
  const json = content['application/json']?.schema;
  if (json !== undefined) {
    return `curl${verb} ${url} -H 'content-type: application/json' \\\n  -d '${JSON.stringify(exampleOf(json))}'`;
  }
  const [type] = Object.keys(content);
  if (type === undefined) return `curl${verb} ${url}`;
  return `curl${verb} ${url} -H 'content-type: ${type}' --data-binary @items.ndjson`;
}

/** Markdown; what would end a cell, or be taken for HTML, is escaped. */
export function table(header: string[], rows: string[][]): string {
  const cellText = (cell: string) =>
    cell
      .replaceAll('|', '\\|')
      .replaceAll('<', '&lt;')
      .replaceAll(/\s*\n\s*/g, ' ');
  const line = (cells: string[]) => `| ${cells.map(cellText).join(' | ')} |`;
  return [line(header), `|${' --- |'.repeat(header.length)}`, ...rows.map(line)].join('\n');
}

function sentence(text: string): string {
  return text === '' || /[.!?]$/.test(text) ? text : `${text}.`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function resolveRefs(value: unknown, schemas: Record<string, Schema>, depth = 0): unknown {
  if (typeof value !== 'object' || value === null || depth > 40) return value;
  if (Array.isArray(value)) return value.map((entry) => resolveRefs(entry, schemas, depth + 1));
  const { $ref } = value as Schema;
  const target = typeof $ref === 'string' ? schemas[$ref.split('/').at(-1)!] : undefined;
  if (target !== undefined) return resolveRefs(target, schemas, depth + 1);
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [key, resolveRefs(entry, schemas, depth + 1)]),
  );
}
