import { type TSchema, Type } from 'typebox';
import { itemOutcomes, type RecommendQuery } from '../../decoder/index.js';
import { normalizations } from '../../kernels/index.js';
import {
  attributeTypes,
  isAttributeName,
  MAX_CODEBOOK_SIZE,
  MAX_LEVELS,
  MAX_RULE_LENGTH,
  type RuleParams,
} from '../../static-trie/index.js';

/** The shapes of requests and responses. Every request object is closed: an unknown field is an error. */
export const closed = { additionalProperties: false } as const;

export const NoQuery = Type.Object({}, closed);

const MAX_NAME_LENGTH = 128;
/** In characters; each is up to 12 when it is encoded in a URL. */
export const MAX_ID_LENGTH = 256;
export const MAX_BEAM_WIDTH = 1_024;
const MAX_HISTORY = 10_000;
const MAX_ITEM_LIST = 10_000;
const MAX_INPUT_IDS = 100_000;
const MAX_EXPLAINED_ITEMS = 100;

export const Name = Type.String({
  pattern: `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,${MAX_NAME_LENGTH - 1}}$`,
  description: `Letters, digits, "_", "." and "-"; at most ${MAX_NAME_LENGTH}.`,
});
const ItemId = Type.String({ minLength: 1, maxLength: MAX_ID_LENGTH });
const ItemIds = Type.Array(ItemId, { maxItems: MAX_ITEM_LIST });

export const CatalogPath = Type.Object({ catalog: Name }, closed);
export const VersionPath = Type.Object(
  { catalog: Name, version: Type.String({ pattern: '^[1-9][0-9]{0,8}$' }) },
  closed,
);
export const SetPath = Type.Object({ catalog: Name, set: Name }, closed);
export const JobPath = Type.Object({ id: Type.String({ pattern: '^[0-9a-f-]{36}$' }) }, closed);

const ModelRef = Type.Object({ name: Name, version: Type.Integer({ minimum: 1 }) }, closed);
const Attribute = Type.Object({ type: Type.Enum([...attributeTypes]) }, closed);
const Attributes = Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$' }), Attribute, {
  maxProperties: 256,
  ...closed,
});
const Sid = Type.Object(
  {
    codebookSizes: Type.Array(Type.Integer({ minimum: 1, maximum: MAX_CODEBOOK_SIZE }), {
      minItems: 1,
      maxItems: MAX_LEVELS,
    }),
  },
  closed,
);

/** Names that an attribute cannot have, because items and rules use them. */
export function isReservedAttribute(name: string): boolean {
  return name === 'id' || name === 'sid' || !isAttributeName(name);
}

export const CatalogBody = Type.Object(
  { model: Type.Union([Name, ModelRef]), sid: Sid, attributes: Attributes },
  closed,
);

const nullable = <Schema extends TSchema>(schema: Schema) => Type.Union([schema, Type.Null()]);

const By = Type.Optional(nullable(Type.String({ description: 'As the caller named itself in X-Actor.' })));

/** A catalog version and the model version that serves, or served, with it. */
const ServingPair = Type.Object({
  version: Type.Integer(),
  model: ModelRef,
  activatedAt: Type.String(),
  activatedBy: By,
});

export const CatalogSummary = Type.Object({
  name: Type.String(),
  activeVersion: nullable(Type.Integer()),
  items: Type.Integer(),
  leaves: Type.Integer(),
  model: Type.Object(ModelRef.properties, {
    description: 'The model of versions that are uploaded from now on.',
  }),
  active: nullable(ServingPair),
});
export const CatalogResource = Type.Object({
  ...CatalogSummary.properties,
  sid: Sid,
  attributes: Attributes,
  earlier: Type.Array(ServingPair, { description: 'What a rollback can bring back, the latest last.' }),
  createdAt: Type.String(),
  createdBy: By,
});
export const VersionResource = Type.Object({
  version: Type.Integer(),
  model: Type.Object(
    { ...ModelRef.properties, fingerprint: Type.Optional(Type.String()) },
    { description: 'The model that the version was built for.' },
  ),
  sid: Type.Optional(Sid),
  items: Type.Integer(),
  leaves: Type.Integer(),
  hash: Type.Optional(Type.String({ description: 'SHA-256 of what the version consists of.' })),
  createdAt: Type.String(),
  createdBy: By,
  active: Type.Boolean(),
});

const ParamValue = Type.Union([
  Type.Boolean(),
  Type.Number(),
  Type.String({ maxLength: MAX_RULE_LENGTH }),
  Type.Array(Type.Number(), { maxItems: MAX_ITEM_LIST }),
  Type.Array(Type.String({ maxLength: MAX_RULE_LENGTH }), { maxItems: MAX_ITEM_LIST }),
]);
/** Typed by hand: the rules know these values by a type of their own. */
const Params = Type.Unsafe<RuleParams>(
  Type.Record(Type.String({ pattern: '^[A-Za-z_][A-Za-z0-9_]{0,63}$' }), ParamValue, {
    maxProperties: 64,
    ...closed,
  }),
);
const Rule = Type.String({
  minLength: 1,
  maxLength: MAX_RULE_LENGTH,
  description: 'A CEL expression over the attributes; an item is allowed only when it is true.',
});

export const PreviewBody = Type.Object({ rule: Rule, params: Type.Optional(Params) }, closed);

const MAX_REFRESH_SECONDS = 604_800;
export const RuleBody = Type.Object(
  {
    ...PreviewBody.properties,
    refreshSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: MAX_REFRESH_SECONDS,
        description: 'How often the rule is evaluated again; without it only when something is activated.',
      }),
    ),
    maxAgeSeconds: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 100 * MAX_REFRESH_SECONDS,
        description: 'The age at which an evaluation is stale. Default: ten times refreshSeconds.',
      }),
    ),
    whenStale: Type.Optional(
      Type.Enum(['refuse', 'serve'], {
        description:
          'What requests under a stale set get: ESP_SET_STALE (the default), or answers under the last evaluation.',
      }),
    ),
  },
  closed,
);

const SetKind = Type.Enum(['rule', 'items', 'sids']);
const SetVersionResource = Type.Object({
  version: Type.Integer(),
  kind: SetKind,
  rule: Type.Optional(Type.String()),
  params: Type.Optional(Params),
  count: Type.Optional(Type.Integer({ description: 'Of the list: ids or SIDs.' })),
  refreshSeconds: Type.Optional(Type.Integer()),
  maxAgeSeconds: Type.Optional(Type.Integer()),
  whenStale: Type.Optional(Type.String()),
  hash: Type.String({ description: 'SHA-256 of the rule and its params, or of the list.' }),
  createdAt: Type.String(),
  createdBy: By,
});

const { version: _, ...inForce } = SetVersionResource.properties;
export const SetResource = Type.Object({
  name: Type.String(),
  version: nullable(Type.Integer({ description: 'The version in force.' })),
  ...Type.Partial(Type.Object(inForce)).properties,
  updatedAt: nullable(Type.String({ description: 'When the version in force was activated.' })),
  catalogVersion: nullable(Type.Integer()),
  evaluatedAt: nullable(Type.String()),
  items: nullable(Type.Integer()),
  leaves: nullable(Type.Integer()),
  unknownCount: Type.Optional(
    Type.Integer({ description: 'Ids or SIDs of the list that the catalog version does not have.' }),
  ),
  unknown: Type.Optional(Type.Array(Type.String(), { description: 'The first of them.' })),
  stale: Type.Boolean({ description: 'Whether the evaluation is older than maxAgeSeconds.' }),
  refreshFailure: nullable(
    Type.Object({ at: Type.String(), error: Type.Object({ code: Type.String(), message: Type.String() }) }),
  ),
  warnings: Type.Array(Type.String()),
  earlier: Type.Array(Type.Integer(), { description: 'What a rollback can bring back, the latest last.' }),
  versions: Type.Array(SetVersionResource),
});

const AliasResource = Type.Object({ alias: Name, catalog: Name, constraintSet: Name }, closed);
export const AliasesBody = Type.Object(
  {
    actions: Type.Array(
      Type.Union([
        Type.Object({ set: AliasResource }, closed),
        Type.Object({ delete: Type.Object({ alias: Name }, closed) }, closed),
      ]),
      { minItems: 1, maxItems: 1_000 },
    ),
  },
  closed,
);
export const AliasesAnswer = Type.Object({ aliases: Type.Array(AliasResource) });

const SampleItem = Type.Object({
  id: Type.String(),
  sid: Type.Array(Type.Integer()),
  attributes: Type.Record(Type.String(), Type.Unknown()),
});
export const PreviewAnswer = Type.Object({
  items: Type.Integer(),
  leaves: Type.Integer(),
  liveChildrenPerLevel: Type.Array(Type.Integer()),
  sample: Type.Array(SampleItem, { description: 'Spread over the set; always the same for the same set.' }),
  warnings: Type.Array(Type.String()),
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
const ErrorBody = Type.Object({
  code: Type.String(),
  message: Type.String(),
  details: Type.Optional(Type.Array(ErrorDetail)),
});
export const ErrorAnswer = Type.Object({ error: ErrorBody });

export const ModelPath = Type.Object({ model: Name }, closed);
export const ModelSummary = Type.Object({ name: Type.String(), versions: Type.Array(Type.Integer()) });
export const ModelVersionResource = Type.Object({
  version: Type.Integer(),
  state: Type.Enum(['fits', 'refused', 'unchecked'], {
    description: 'unchecked: not opened since its files came; POST …/load does.',
  }),
  contract: Type.Optional(Type.String()),
  codebookSizes: Type.Optional(Type.Array(Type.Integer())),
  vocabSize: Type.Optional(Type.Integer()),
  fingerprint: Type.Optional(
    Type.String({ description: 'SHA-256 of codebooks, vocabulary and tokens: what SIDs depend on.' }),
  ),
  error: Type.Optional(ErrorBody),
  pinnedBy: Type.Array(Type.Object({ catalog: Type.String(), versions: Type.Array(Type.Integer()) })),
  active: Type.Array(Type.String(), { description: 'Catalogs that serve with it.' }),
  loaded: Type.Boolean({ description: 'Whether the engine has it open.' }),
});
export const ModelResource = Type.Object({
  name: Type.String(),
  versions: Type.Array(ModelVersionResource),
});

/** Documentation: the key is checked where it is used, since Node joins a header that comes twice. */
export const ItemPath = Type.Object({ catalog: Name, id: ItemId }, closed);
const SetVerdict = Type.Object({
  name: Type.String(),
  version: Type.Integer(),
  allowed: Type.Boolean(),
  reason: Type.Enum(['removed', 'listed', 'not listed', 'rule']),
  rule: Type.Optional(
    Type.Object({
      verdict: Type.Enum(['true', 'false', 'error']),
      parts: Type.Array(
        Type.Object({
          text: Type.String(),
          verdict: Type.Enum(['true', 'false', 'error']),
          missing: Type.Array(Type.String()),
        }),
        { description: 'The operands of the outermost && or ||, or the rule as a whole.' },
      ),
    }),
  ),
});
export const ItemResource = Type.Object({
  ...SampleItem.properties,
  catalogVersion: Type.Integer(),
  removed: Type.Boolean(),
  sharing: Type.Array(Type.String(), { description: 'Other items of the same SID; the first 100.' }),
  sharingCount: Type.Integer(),
  sets: Type.Array(SetVerdict),
});
/** Items are checked against the catalog, not here. */
const AnyItem = Type.Record(Type.String(), Type.Unknown());
export const ItemsPatch = Type.Object(
  {
    remove: Type.Optional(ItemIds),
    update: Type.Optional(
      Type.Array(AnyItem, {
        maxItems: MAX_ITEM_LIST,
        description: 'An id and new values; null takes one away.',
      }),
    ),
    add: Type.Optional(
      Type.Array(AnyItem, { maxItems: MAX_ITEM_LIST, description: 'Items as in an upload.' }),
    ),
  },
  { ...closed, minProperties: 1 },
);

export const UploadHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      description:
        'A retried upload with the same key is the same job. 1 to 255 visible ASCII characters, such as a UUID.',
    }),
  ),
});

const JobState = Type.Enum(['queued', 'running', 'succeeded', 'failed', 'cancelled']);
const JobResource = Type.Object({
  id: Type.String(),
  kind: Type.String(),
  state: JobState,
  phase: Type.String(),
  fraction: Type.Number(),
  createdAt: Type.String(),
  catalog: Type.Optional(Type.String()),
  version: Type.Optional(Type.Integer()),
  error: Type.Optional(ErrorBody),
  result: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
});
export const JobAnswer = Type.Object({ job: JobResource });
export const JobsQuery = Type.Object(
  {
    state: Type.Optional(JobState),
    limit: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,3}$', default: '100' })),
  },
  closed,
);
export const JobsAnswer = Type.Object({ jobs: Type.Array(JobResource) });
export const BuildAnswer = Type.Object({ job: JobResource, version: Type.Integer() });
export const PatchAnswer = Type.Object({
  removed: Type.Integer(),
  updated: Type.Integer(),
  unknownItems: Type.Array(Type.String()),
  job: Type.Optional(JobResource),
  version: Type.Optional(Type.Integer({ description: 'That has the added items when the job has ended.' })),
});

/** What a recommend request leaves out. `beamWidth` is the larger of k and 50, `timeoutMs` the server's. */
export const recommendDefaults: Pick<
  RecommendQuery,
  'k' | 'constraint' | 'excludeHistory' | 'normalize' | 'temperature' | 'attributes'
> = {
  k: 10,
  constraint: {},
  excludeHistory: false,
  normalize: 'vocabulary',
  temperature: 1,
  attributes: [],
};

const BeamWidth = Type.Integer({ minimum: 1, maximum: MAX_BEAM_WIDTH });
const AttributeName = Type.String({ maxLength: 64 });

export const RecommendBody = Type.Object(
  {
    catalog: Name,
    history: Type.Optional(
      Type.Array(ItemId, { maxItems: MAX_HISTORY, description: 'Item ids, oldest first.' }),
    ),
    inputIds: Type.Optional(
      Type.Array(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 }), {
        minItems: 1,
        maxItems: MAX_INPUT_IDS,
        description: 'Instead of a history: tokens, which the model reads as they are.',
      }),
    ),
    k: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_BEAM_WIDTH, default: recommendDefaults.k })),
    beamWidth: Type.Optional(
      Type.Union([BeamWidth, Type.Array(BeamWidth, { minItems: 1, maxItems: MAX_LEVELS })], {
        description: 'One width, or one for each level. Default: the larger of k and 50.',
      }),
    ),
    constraint: Type.Optional(
      Type.Object(
        {
          set: Type.Optional(Name),
          filter: Type.Optional(Rule),
          params: Type.Optional(Params),
          include: Type.Optional(ItemIds),
          exclude: Type.Optional(ItemIds),
        },
        closed,
      ),
    ),
    excludeHistory: Type.Optional(Type.Boolean({ default: recommendDefaults.excludeHistory })),
    normalize: Type.Optional(Type.Enum([...normalizations], { default: recommendDefaults.normalize })),
    temperature: Type.Optional(
      Type.Number({ minimum: 0.01, maximum: 100, default: recommendDefaults.temperature }),
    ),
    timeoutMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 600_000 })),
    attributes: Type.Optional(Type.Array(AttributeName, { maxItems: 256 })),
    diversity: Type.Optional(
      Type.Object(
        { attribute: AttributeName, max: Type.Integer({ minimum: 1, maximum: MAX_BEAM_WIDTH }) },
        { ...closed, description: 'At most `max` items of the answer share a value of `attribute`.' },
      ),
    ),
    explain: Type.Optional(
      Type.Union([
        Type.Boolean(),
        Type.Object({ items: Type.Array(ItemId, { maxItems: MAX_EXPLAINED_ITEMS }) }, closed),
      ]),
    ),
  },
  closed,
);

const Explanation = Type.Object({
  steps: Type.Array(
    Type.Object({
      level: Type.Integer(),
      liveChildren: Type.Integer({ description: 'Of all beams: what the step chose from.' }),
      kept: Type.Array(Type.Object({ sid: Type.Array(Type.Integer()), score: Type.Number() })),
    }),
  ),
  items: Type.Optional(
    Type.Array(
      Type.Object({
        id: Type.String(),
        outcome: Type.Enum([...itemOutcomes]),
        rank: Type.Optional(Type.Integer()),
        level: Type.Optional(Type.Integer({ description: 'The step at which the item was dropped.' })),
        score: Type.Optional(nullable(Type.Number())),
        cut: Type.Optional(nullable(Type.Number({ description: 'The lowest score that the step kept.' }))),
        excludedBy: Type.Optional(Type.Array(Type.String())),
      }),
    ),
  ),
});

export const RecommendAnswerSchema = Type.Object({
  items: Type.Array(
    Type.Object({
      id: Type.String(),
      score: Type.Number({ description: 'Sum of natural-log probabilities along the SID.' }),
      sid: Type.Array(Type.Integer()),
      attributes: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
    }),
  ),
  complete: Type.Boolean(),
  shortfall: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
  unknownItems: Type.Array(Type.String()),
  versions: Type.Object({
    catalog: Type.Integer(),
    constraintSet: Type.Optional(Type.Integer()),
    model: Type.Integer(),
  }),
  timings: Type.Object({
    queueMs: Type.Number(),
    modelMs: Type.Number(),
    constraintMs: Type.Number(),
    totalMs: Type.Number(),
  }),
  explain: Type.Optional(Explanation),
});
