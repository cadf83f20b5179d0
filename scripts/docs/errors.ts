import type { Content, Operation } from './http-api.js';
import type { Schema } from './schema.js';

/** The errors that a route can answer with, in the order of their status. */
export type RouteErrors = { status: string; code: string }[];

interface Route {
  method: string;
  operation: Operation;
}

/** The errors that a route's responses name. */
export function errorsOf({ responses }: Operation): RouteErrors {
  return Object.entries(responses).flatMap(([status, { content = {} }]) =>
    errorSchemasOf(content).flatMap((schema) => codesOf(schema).map((code) => ({ status, code }))),
  );
}

/** Whether a response is an error and nothing else: `503` also says that a server is not ready. */
export function isErrorOnly(content: Content): boolean {
  const schema = content['application/json']?.schema;
  return schema !== undefined && isError(schema);
}

/** Whether a schema is that of an error answer. */
export function isError(schema: Schema): boolean {
  return codesOf(schema).length > 0;
}

/** A row for each status, with its codes. */
export function rowsOf(errors: RouteErrors): string[][] {
  const byStatus = new Map<string, string[]>();
  for (const { status, code } of errors) {
    byStatus.set(status, [...(byStatus.get(status) ?? []), `\`${code}\``]);
  }
  return Array.from(byStatus, ([status, codes]) => [`\`${status}\``, codes.join(', ')]);
}

/** The errors that all routes of a kind have, so that not every route has to list them. */
export function commonErrors(routes: readonly Route[]): { codes: Set<string>; rows: string[][] } {
  const kinds: [string, (route: Route) => boolean][] = [
    ['every route', () => true],
    ['routes that need a key', ({ operation }) => (operation.security?.length ?? 0) > 0],
    ['routes that are not `GET`', ({ method }) => method !== 'get' && method !== 'head'],
  ];
  const codes = new Set<string>();
  const rows = kinds.flatMap(([kind, isOf]) => {
    const [first, ...others] = routes.filter(isOf).map(({ operation }) => errorsOf(operation));
    const shared = first.filter(
      ({ code }) => !codes.has(code) && others.every((errors) => errors.some((one) => one.code === code)),
    );
    for (const { code } of shared) codes.add(code);
    return rowsOf(shared).map((row, index) => [index === 0 ? kind : '', ...row]);
  });
  return { codes, rows };
}

function errorSchemasOf(content: Content): Schema[] {
  const schema = content['application/json']?.schema;
  return schema === undefined ? [] : [schema, ...(schema.anyOf ?? [])];
}

/** None where the schema is not that of an error answer. */
function codesOf({ properties }: Schema): string[] {
  const error = properties?.error?.properties;
  return error?.code === undefined || Object.keys(properties ?? {}).length > 1
    ? []
    : (error.code.enum as string[]);
}
