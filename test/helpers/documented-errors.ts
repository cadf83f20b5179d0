import type { ServerProcess } from '../../examples/online-retail/server-process.js';

/** The part of the OpenAPI document that says which errors a route can answer with. */
export interface ErrorDocument {
  paths: Record<string, Record<string, { responses: Record<string, Documented> }>>;
}
interface Documented {
  content?: Record<string, { schema: ErrorSchema }>;
}
interface ErrorSchema {
  anyOf?: ErrorSchema[];
  properties?: { error?: { properties: { code: { enum: string[] } } } };
}

/** It depends on nothing that a server is started with, so one of them is enough. */
let known: ErrorDocument | undefined;

/**
 * Every error that a test gets must be one that the document has for its route and status.
 * @param json the answer's body
 */
export async function expectDocumented(
  server: ServerProcess,
  method: string,
  path: string,
  status: number,
  json: unknown,
): Promise<void> {
  const code = (json as { error?: { code?: string } } | undefined)?.error?.code;
  if (status < 400 || code === undefined) return;
  known ??= (await (await fetch(`${server.url}/openapi.json`)).json()) as ErrorDocument;
  // As it is sent: `..` leads to another route, or to none.
  const template = templateOf(known, new URL(path, server.url).pathname);
  const operation = template && known.paths[template][method.toLowerCase()];
  if (!operation || codesOf(operation.responses[status]).includes(code)) return;
  throw new Error(
    `${method} ${path} answered ${status} ${code}, which the document does not have for ${method} ${template} ` +
      `(has ${codesOf(operation.responses[status]).join(', ') || 'none'}): add it to the route's config.errors`,
  );
}

/** The codes of a documented response; none where it is no error. */
export function codesOf(response: Documented | undefined): string[] {
  const schema = response?.content?.['application/json']?.schema;
  return [schema, ...(schema?.anyOf ?? [])].flatMap(
    (one) => one?.properties?.error?.properties.code.enum ?? [],
  );
}

/** The path of the document that an address is of; literal ones win. */
export function templateOf({ paths }: ErrorDocument, path: string): string | undefined {
  const parts = path.split('?')[0].split('/');
  const fits = Object.keys(paths).filter((template) => {
    const others = template.split('/');
    return (
      others.length === parts.length &&
      others.every((part, index) => part.startsWith('{') || part === parts[index])
    );
  });
  return fits.sort((a, b) => a.split('{').length - b.split('{').length)[0];
}
