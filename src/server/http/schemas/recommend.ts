import { Type } from 'typebox';
import { itemOutcomes, type RecommendQuery } from '../../../decoder/index.js';
import { normalizations } from '../../../kernels/index.js';
import { MAX_LEVELS } from '../../../static-trie/index.js';
import {
  closed,
  ErrorAnswer,
  ItemId,
  ItemIds,
  MAX_BEAM_WIDTH,
  Name,
  nullable,
  Params,
  Rule,
} from './common.js';

const MAX_HISTORY = 10_000;
const MAX_INPUT_IDS = 100_000;
const MAX_EXPLAINED_ITEMS = 100;

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

const MAX_BATCH_REQUESTS = 64;

/** Only the envelope: what is wrong with one request is that one's error, found by `checkRequest`. */
export const BatchBody = Type.Object(
  {
    requests: Type.Array(Type.Unknown({ description: 'As the body of POST /v1/recommend.' }), {
      minItems: 1,
      maxItems: MAX_BATCH_REQUESTS,
    }),
  },
  closed,
);

export const BatchAnswer = Type.Object({
  responses: Type.Array(Type.Union([RecommendAnswerSchema, ErrorAnswer]), {
    description: 'In the order of the requests.',
  }),
});
