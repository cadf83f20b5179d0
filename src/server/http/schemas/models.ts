import { Type } from 'typebox';
import { closed, ErrorBody, Name } from './common.js';

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
