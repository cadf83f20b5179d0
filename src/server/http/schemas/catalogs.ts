import { Type } from 'typebox';
import {
  attributeTypes,
  isAttributeName,
  MAX_CODEBOOK_SIZE,
  MAX_LEVELS,
} from '../../../static-trie/index.js';
import { By, closed, ErrorBody, ModelRef, Name, nullable } from './common.js';

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
  damagedVersions: Type.Array(Type.Object({ version: Type.Integer(), error: ErrorBody }), {
    description:
      'Versions whose record on disk cannot be read; they cannot be activated, and are not deleted.',
  }),
  notServed: Type.Optional(
    Type.Object(ErrorBody.properties, {
      description: 'Why the active version does not serve; absent while it does.',
    }),
  ),
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
