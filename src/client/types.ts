import type { Static } from 'typebox';
import type {
  CatalogBody,
  CatalogResource,
  CatalogSummary,
  VersionResource,
} from '../server/http/schemas/catalogs.js';
import type { PreviewBody } from '../server/http/schemas/common.js';
import type {
  AliasesAnswer,
  AliasesBody,
  PreviewAnswer,
  RuleBody,
  SetResource,
} from '../server/http/schemas/constraint-sets.js';
import type { ItemResource, ItemsPatch, PatchAnswer } from '../server/http/schemas/items.js';
import type { BuildAnswer, JobResource } from '../server/http/schemas/jobs.js';
import type { ModelResource, ModelSummary, ModelVersionResource } from '../server/http/schemas/models.js';
import type { RecommendAnswerSchema, RecommendBody } from '../server/http/schemas/recommend.js';
import type { PlainErrorLike } from './errors.js';

/** Types only, derived from the schemas by which the server checks and documents its routes. */

export type RecommendRequest = Static<typeof RecommendBody>;

type PlainAnswer = Static<typeof RecommendAnswerSchema>;
export type RecommendedItem<Attributes extends object = Record<string, unknown>> = Omit<
  PlainAnswer['items'][number],
  'attributes'
> & { attributes: Attributes };
/** @typeParam Attributes of the items, where the request asks for them. */
export type RecommendAnswer<Attributes extends object = Record<string, unknown>> = Omit<
  PlainAnswer,
  'items'
> & { items: RecommendedItem<Attributes>[] };

/** One of many: an answer, or why there is none. */
export type BatchAnswer<Attributes extends object = Record<string, unknown>> =
  | RecommendAnswer<Attributes>
  | { error: PlainErrorLike };

export type CatalogDefinition = Static<typeof CatalogBody>;
export type Catalog = Static<typeof CatalogResource>;
export type CatalogOverview = Static<typeof CatalogSummary>;
export type CatalogVersion = Static<typeof VersionResource>;
export type Item = Static<typeof ItemResource>;
export type ItemChanges = Static<typeof ItemsPatch>;
export type ItemChangesAnswer = Static<typeof PatchAnswer>;
export type ConstraintSetRule = Static<typeof RuleBody>;
export type ConstraintSet = Static<typeof SetResource>;
export type RulePreviewRequest = Static<typeof PreviewBody>;
export type RulePreview = Static<typeof PreviewAnswer>;
export type AliasActions = Static<typeof AliasesBody>['actions'];
export type Aliases = Static<typeof AliasesAnswer>['aliases'];
export type ModelOverview = Static<typeof ModelSummary>;
export type Model = Static<typeof ModelResource>;
export type ModelVersion = Static<typeof ModelVersionResource>;
export type Job = Static<typeof JobResource>;
export type StartedBuild = Static<typeof BuildAnswer>;

export interface Health {
  status: string;
  kernel: string;
  step: string;
  cuda: { state: string; message: string };
}
export interface Readiness {
  isReady: boolean;
  status: string;
  /** Why the server should not get traffic; empty when it should. */
  reasons: string[];
  /** What it cannot do although recommending goes on; empty from servers that do not tell. */
  degraded: string[];
}
