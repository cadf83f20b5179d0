import type { Random } from '../random.js';

/** As much of JSON Schema as the API's document uses. */
export interface Schema {
  type?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  patternProperties?: Record<string, Schema>;
  additionalProperties?: boolean | Schema;
  items?: Schema;
  anyOf?: Schema[];
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  exclusiveMinimum?: number;
  maximum?: number;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
}

/** Texts that mean something to the server under test, so that requests come past their first check. */
export type Vocabulary = Record<string, readonly string[]>;

/** A value that a schema allows, or nearly: patterns are left to the vocabulary. */
export function fromSchema(schema: Schema, random: Random, words: Vocabulary, name = ''): unknown {
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return random.pick(schema.enum);
  if (schema.anyOf !== undefined) return fromSchema(random.pick(schema.anyOf), random, words, name);
  switch (schema.type) {
    case 'object':
      return objectOf(schema, random, words, name);
    case 'array': {
      const length = (schema.minItems ?? 0) + random.below(3);
      return Array.from({ length }, () => fromSchema(schema.items ?? {}, random, words, name));
    }
    case 'string':
      return random.pick(words[name] ?? words.text);
    case 'integer':
    case 'number':
      return Math.min(
        (schema.minimum ?? -2) + random.below(random.chance(0.8) ? 6 : 1e6),
        schema.maximum ?? 1e9,
      );
    case 'boolean':
      return random.chance(0.5);
    case 'null':
      return null;
    default:
      return random.pick<unknown>([1, 'x', true, null, [], {}]);
  }
}

function objectOf(schema: Schema, random: Random, words: Vocabulary, name: string): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    const isWanted = schema.required?.includes(key) || random.chance(0.3);
    if (isWanted) value[key] = fromSchema(property, random, words, key);
  }
  for (const pattern of Object.values(schema.patternProperties ?? {})) {
    if (random.chance(0.6))
      value[random.pick(words[`keys of ${name}`] ?? words.name)] = fromSchema(pattern, random, words);
  }
  return value;
}
