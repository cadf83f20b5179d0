import { Type } from 'typebox';
import { By, closed, ErrorBody, Name, nullable, Params, PreviewBody, SampleItem } from './common.js';

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

export const SetsAnswer = Type.Object({
  constraintSets: Type.Array(SetResource),
  damaged: Type.Array(Type.Object({ name: Type.String(), error: ErrorBody }), {
    description: 'Sets whose record or list on disk cannot be read: requests under them are refused.',
  }),
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
export const PreviewAnswer = Type.Object({
  items: Type.Integer(),
  leaves: Type.Integer(),
  liveChildrenPerLevel: Type.Array(Type.Integer()),
  sample: Type.Array(SampleItem, { description: 'Spread over the set; always the same for the same set.' }),
  warnings: Type.Array(Type.String()),
});
