import { Type } from 'typebox';
import { closed, ItemId, ItemIds, MAX_ITEM_LIST, Name, SampleItem } from './common.js';
import { JobResource } from './jobs.js';

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

export const PatchAnswer = Type.Object({
  removed: Type.Integer(),
  updated: Type.Integer(),
  unknownItems: Type.Array(Type.String(), {
    description:
      'ids to remove or update that the active version does not have; an item that is still to be added follows the change all the same',
  }),
  job: Type.Optional(JobResource),
  version: Type.Optional(Type.Integer({ description: 'That has the added items when the job has ended.' })),
});
