import { type Static, type TSchema, Type } from 'typebox';
import { type ErrorCode, errorCatalogue } from '../../../errors.js';
import { MAX_RULE_LENGTH, type RuleParams } from '../../../static-trie/index.js';
/** The shapes of requests and responses. Every request object is closed: an unknown field is an error. */
export const closed = { additionalProperties: false } as const;

export const NoQuery = Type.Object({}, closed);

const MAX_NAME_LENGTH = 128;
/** In characters; each is up to 12 when it is encoded in a URL. */
export const MAX_ID_LENGTH = 256;
export const MAX_BEAM_WIDTH = 1_024;
export const MAX_ITEM_LIST = 10_000;

export const Name = Type.String({
  pattern: `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,${MAX_NAME_LENGTH - 1}}$`,
  description: `Letters, digits, "_", "." and "-"; at most ${MAX_NAME_LENGTH}.`,
});
export const ItemId = Type.String({ minLength: 1, maxLength: MAX_ID_LENGTH });
export const ItemIds = Type.Array(ItemId, { maxItems: MAX_ITEM_LIST });

export const CatalogPath = Type.Object({ catalog: Name }, closed);
export const VersionPath = Type.Object(
  { catalog: Name, version: Type.String({ pattern: '^[1-9][0-9]{0,8}$' }) },
  closed,
);
export const SetPath = Type.Object({ catalog: Name, set: Name }, closed);
export const JobPath = Type.Object({ id: Type.String({ pattern: '^[0-9a-f-]{36}$' }) }, closed);

export const ModelRef = Type.Object({ name: Name, version: Type.Integer({ minimum: 1 }) }, closed);
/** As one schema of two types: what writes answers tries the schemas of a union one after the other. */
export const nullable = <Schema extends TSchema & { type: string }>(schema: Schema) =>
  Type.Unsafe<Static<Schema> | null>({ ...schema, type: [schema.type, 'null'] });
export const By = Type.Optional(
  nullable(
    Type.String({ description: 'The name of the API key, and what the caller called itself in X-Actor.' }),
  ),
);

const ParamValue = Type.Union([
  Type.Boolean(),
  Type.Number(),
  Type.String({ maxLength: MAX_RULE_LENGTH }),
  Type.Array(Type.Number(), { maxItems: MAX_ITEM_LIST }),
  Type.Array(Type.String({ maxLength: MAX_RULE_LENGTH }), { maxItems: MAX_ITEM_LIST }),
]);
/** Typed by hand: the rules know these values by a type of their own. */
export const Params = Type.Unsafe<RuleParams>(
  Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$' }), ParamValue, {
    maxProperties: 64,
    ...closed,
  }),
);
export const Rule = Type.String({
  minLength: 1,
  maxLength: MAX_RULE_LENGTH,
  description: 'A CEL expression over the attributes; an item is allowed only when it is true.',
});

export const PreviewBody = Type.Object({ rule: Rule, params: Type.Optional(Params) }, closed);
export const SampleItem = Type.Object({
  id: Type.String(),
  sid: Type.Array(Type.Integer()),
  attributes: Type.Record(Type.String(), Type.Unknown()),
});

/** `{}` is the newest model version, or the pair that was active before. */
export const VersionChoice = Type.Object(
  { version: Type.Optional(Type.Integer({ minimum: 1, maximum: 999_999_999 })) },
  closed,
);

/** For routes that must name a version. */
export const VersionBody = Type.Object(
  { version: Type.Integer({ minimum: 1, maximum: 999_999_999 }) },
  closed,
);

const ErrorDetail = Type.Object({
  file: Type.Optional(Type.String()),
  line: Type.Optional(Type.Integer()),
  field: Type.Optional(Type.String()),
  position: Type.Optional(Type.Integer()),
  expected: Type.String(),
  found: Type.String(),
});
const errorFields = { message: Type.String(), details: Type.Optional(Type.Array(ErrorDetail)) };
export const ErrorBody = Type.Object({
  code: Type.Enum(Object.keys(errorCatalogue) as ErrorCode[], { description: 'See docs/errors.md.' }),
  ...errorFields,
});
export const ErrorAnswer = Type.Object({ error: ErrorBody });

/** The answer of a route that gives some of the errors only. */
export function errorAnswerOf(codes: ErrorCode[]) {
  return Type.Object({ error: Type.Object({ code: Type.Enum(codes), ...errorFields }) });
}
