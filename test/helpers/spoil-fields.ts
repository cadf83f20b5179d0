import type { Schema } from './fuzz/from-schema.js';

/** A body that is right but for one thing. */
export interface Spoiled {
  /** As errors name it: `constraint.set`, `history[0]`; empty for the body itself. */
  field: string;
  what: string;
  body: unknown;
}

/** Lists and texts that would be longer than bodies may be are left out. */
const MOST_VALUES = 20_000;

/**
 * Every field that a schema knows, wrong in every way that the schema tells: of another type, out of its bounds, missing,
 * and beside a field of a name that nobody knows.
 * @param value right by the schema; fields that it lacks are spoilt, too
 */
export function* spoilFields(schema: Schema, value: unknown): Generator<Spoiled> {
  yield* spoil([schema], value, '', (spoilt) => spoilt);
}

type Within = (spoilt: unknown) => unknown;

/** @param schemas of which a value must fit one @param within the body with another value in this one's place */
function* spoil(
  schemas: readonly Schema[],
  value: unknown,
  field: string,
  within: Within,
): Generator<Spoiled> {
  const all = schemas.flatMap((schema) => branchesOf(schema));
  for (const [what, wrong] of wrongValues(all, value)) yield { field, what, body: within(wrong) };
  const lists = all.flatMap(({ type, items }) => (type === 'array' && items ? [items] : []));
  if (lists.length > 0) {
    const list = Array.isArray(value) ? value : [];
    yield* spoil(lists, list[0], `${field}[0]`, (spoilt) => within([spoilt, ...list.slice(1)]));
  }
  const objects = all.filter(({ type }) => type === 'object');
  if (objects.length > 0) yield* spoilObject(objects, value, field, within);
}

function* spoilObject(
  schemas: readonly Schema[],
  value: unknown,
  field: string,
  within: Within,
): Generator<Spoiled> {
  const object = isObject(value) ? value : {};
  const pathOf = (name: string) => (field === '' ? name : `${field}.${name}`);
  const names = new Set(schemas.flatMap(({ properties = {} }) => Object.keys(properties)));
  for (const name of names) {
    const of = schemas.flatMap(({ properties = {} }) => properties[name] ?? []);
    yield* spoil(of, object[name], pathOf(name), (spoilt) => within({ ...object, [name]: spoilt }));
    if (!schemas.every(({ required = [] }) => required.includes(name))) continue;
    const { [name]: _, ...rest } = object;
    yield { field: pathOf(name), what: 'missing', body: within(rest) };
  }
  if (schemas.every(({ additionalProperties }) => additionalProperties === false)) {
    yield { field: pathOf('nobody'), what: 'unknown', body: within({ ...object, nobody: 1 }) };
  }
}

function* wrongValues(schemas: readonly Schema[], value: unknown): Generator<[string, unknown]> {
  // One that says nothing allows everything.
  const isOpen = schemas.some(
    ({ type, enum: choices, const: only }) => !type && !choices && only === undefined,
  );
  if (isOpen) return;
  for (const other of [5, 1.5, 'x', true, null, {}, []]) {
    if (!schemas.some((schema) => hasType(schema, other))) yield [`${JSON.stringify(other)}`, other];
  }
  const numbers = schemas.filter(({ type }) => type === 'integer' || type === 'number');
  for (const { minimum, exclusiveMinimum, maximum } of numbers) {
    if (minimum !== undefined) yield ['too small', minimum - 1];
    if (exclusiveMinimum !== undefined) yield ['too small', exclusiveMinimum];
    if (maximum !== undefined) yield ['too large', maximum + 1];
  }
  for (const { type, minLength = 0, maxLength = MOST_VALUES, pattern } of schemas) {
    if (type !== 'string') continue;
    if (minLength > 0) yield ['empty', ''];
    if (maxLength < MOST_VALUES) yield ['too long', 'x'.repeat(maxLength + 1)];
    if (pattern !== undefined) yield ['of other characters', '\u0000 \u{1F381}'];
  }
  if (schemas.every(({ enum: choices, const: only }) => choices !== undefined || only !== undefined)) {
    yield ['none of those there are', 'nobody'];
  }
  for (const { type, minItems = 0, maxItems = MOST_VALUES } of schemas) {
    if (type !== 'array') continue;
    const list = Array.isArray(value) ? value : [];
    if (minItems > 0) yield ['too few', list.slice(0, minItems - 1)];
    if (maxItems < MOST_VALUES && list.length > 0)
      yield ['too many', Array.from({ length: maxItems + 1 }, () => list[0])];
  }
}

function hasType({ type, enum: choices, const: only }: Schema, value: unknown): boolean {
  if (choices !== undefined) return choices.includes(value);
  if (only !== undefined) return only === value;
  switch (type) {
    case 'integer':
      return Number.isInteger(value);
    case 'array':
      return Array.isArray(value);
    case 'object':
      return isObject(value);
    case 'null':
      return value === null;
    default:
      return typeof value === type;
  }
}

function branchesOf(schema: Schema): Schema[] {
  return schema.anyOf === undefined ? [schema] : schema.anyOf.flatMap(branchesOf);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
