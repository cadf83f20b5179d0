/** The part of JSON Schema that the routes' schemas use. */
export interface Schema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  anyOf?: Schema[];
  oneOf?: Schema[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  additionalProperties?: Schema | boolean;
  pattern?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  minProperties?: number;
  maxProperties?: number;
}

export interface Field {
  path: string;
  type: string;
  isRequired: boolean;
  default: unknown;
  description: string;
}

/** Longer lists, as of all error codes, have a page of their own. */
const MAX_LISTED = 20;

/** How a schema reads in a table: its type with its bounds. */
export function typeOf(schema: Schema): string {
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives !== undefined) {
    return [...new Set(alternatives.map((one) => typeOf(one)))].join(' or ');
  }
  if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
  if (schema.enum !== undefined) {
    if (schema.enum.length > MAX_LISTED) return 'string';
    return schema.enum.map((value) => `\`${value}\``).join(', ');
  }
  if (schema.type === 'array') {
    const count = range(schema.minItems, schema.maxItems);
    return `list${count === '' ? '' : ` (${count})`} of ${typeOf(schema.items ?? {})}`;
  }
  if (schema.type === 'object' && typeof schema.additionalProperties === 'object') {
    const count = range(undefined, schema.maxProperties);
    return `map${count === '' ? '' : ` (${count})`} of ${typeOf(schema.additionalProperties)}`;
  }
  const kind = schema.type === undefined ? 'any' : [schema.type].flat().join(' or ');
  if (schema.type === 'string' && schema.minLength === 1 && schema.maxLength === undefined) return 'string';
  const unit = schema.type === 'string' ? ' characters' : '';
  const bounds = range(schema.minimum ?? schema.minLength, schema.maximum ?? schema.maxLength);
  return bounds === '' ? kind : `${kind} (${bounds}${unit})`;
}

function range(from: number | undefined, to: number | undefined): string {
  const write = (value: number) => value.toLocaleString('en-US');
  if (from !== undefined && to !== undefined) return `${write(from)} to ${write(to)}`;
  if (to !== undefined) return `at most ${write(to)}`;
  return from === undefined ? '' : `at least ${write(from)}`;
}

/** Every field of an object, those of objects inside it under their path: `constraint.set`, `items[].id`. */
export function fieldsOf(schema: Schema, prefix = ''): Field[] {
  const fields: Field[] = [];
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const path = `${prefix}${name}`;
    fields.push({
      path,
      type: typeOf(property),
      isRequired: schema.required?.includes(name) ?? false,
      default: property.default,
      description: descriptionOf(property),
    });
    fields.push(...fieldsInside(property, path));
  }
  return fields;
}

function fieldsInside(schema: Schema, path: string): Field[] {
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives !== undefined) return alternatives.flatMap((one) => fieldsInside(one, path));
  if (schema.properties !== undefined) return fieldsOf(schema, `${path}.`);
  if (schema.items !== undefined) return fieldsInside(schema.items, `${path}[]`);
  const values = schema.additionalProperties;
  return typeof values === 'object' ? fieldsInside(values, `${path}.*`) : [];
}

/** Of a union without a description, those of its parts. */
function descriptionOf({ description, anyOf = [], items }: Schema): string {
  if (description !== undefined) return description;
  const parts = anyOf.map((one) => one.description).filter((text) => text !== undefined);
  return parts.length > 0 ? [...new Set(parts)].join(' ') : (items?.description ?? '');
}

/** A small value that fits: what is required, and nothing else. */
export function exampleOf(schema: Schema, name = ''): unknown {
  const known = EXAMPLES[name];
  if (known !== undefined) return known;
  const [first] = schema.anyOf ?? schema.oneOf ?? [];
  if (first !== undefined) return exampleOf(first, name);
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.type === 'array') {
    return Array.from({ length: schema.minItems ?? 1 }, () => exampleOf(schema.items ?? {}));
  }
  if (schema.type === 'integer' || schema.type === 'number') return schema.minimum ?? 1;
  if (schema.type === 'boolean') return true;
  if (schema.type !== 'object') return 'text';
  const { properties = {}, minProperties = 0 } = schema;
  const required = schema.required ?? Object.keys(properties).slice(0, minProperties);
  return Object.fromEntries(required.map((key) => [key, exampleOf(properties[key] ?? {}, key)]));
}

/** What one would really write, where the schema alone gives no idea of it. */
const EXAMPLES: Record<string, unknown> = {
  attributes: { title: { type: 'string' }, price: { type: 'double' } },
  catalog: 'shop',
  codebookSizes: [256, 256, 256],
  constraintSet: 'sale',
  alias: 'front-page',
  model: 'my-model',
  rule: 'price <= 5.0',
  set: 'sale',
};
