import { EspalierError } from '../errors.js';
import { firstItemOf, type Kernel, type Normalization, setBit, wordsFor } from '../kernels/index.js';
import {
  type AttributeValue,
  type ConstraintSet,
  combineSets,
  compareCodeUnits,
  constraintSetFromItems,
  type Exclusions,
  isExcluded,
  jsonValueAt,
  prepareExclusions,
  type RuleParams,
  setHasItem,
  sidOf,
} from '../static-trie/index.js';
import type { ActiveCatalog } from './active-catalog.js';
import { type BeamSearchResult, beamSearch } from './beam-search.js';
import { historyTokens } from './model.js';

/** A recommend request, complete: every default filled in, every bound checked. */
export interface RecommendQuery {
  /** Names the request in errors. */
  requestId: string;
  catalog: string;
  history: readonly string[];
  k: number;
  beamWidth: number;
  constraint: {
    set?: string;
    filter?: string;
    params?: RuleParams;
    include?: readonly string[];
    exclude?: readonly string[];
  };
  excludeHistory: boolean;
  normalize: Normalization;
  temperature: number;
  attributes: readonly string[];
  /** Milliseconds since 1970, fractional. */
  enqueuedAtMs: number;
  deadlineAtMs: number;
}

export type ShortfallCode =
  | 'ESP_SHORTFALL_NOTHING_ALLOWED'
  | 'ESP_SHORTFALL_FEW_ALLOWED'
  | 'ESP_SHORTFALL_BEAM';

export interface RecommendAnswer {
  items: {
    id: string;
    score: number;
    sid: number[];
    attributes?: Record<string, AttributeValue | null>;
  }[];
  complete: boolean;
  shortfall?: { code: ShortfallCode; message: string };
  unknownItems: string[];
  versions: { catalog: number; constraintSet?: number; model: number };
  timings: { queueMs: number; modelMs: number; constraintMs: number; totalMs: number };
}

/** A request and the catalog version it was pinned to. */
export interface PinnedQuery {
  catalog: ActiveCatalog;
  query: RecommendQuery;
}

/**
 * Decodes requests of one model together. A request that fails doesn't fail the others: its error takes its place.
 * @param isCancelled asked between steps: whether nobody waits for this request any more.
 */
export async function recommendBatch(
  kernel: Kernel,
  requests: readonly PinnedQuery[],
  isCancelled: (requestId: string) => boolean,
): Promise<(RecommendAnswer | EspalierError)[]> {
  const answers: (RecommendAnswer | EspalierError)[] = [];
  for (const { catalog, query } of requests) {
    try {
      if (isCancelled(query.requestId)) throw new EspalierError('ESP_CANCELLED', 'the request was cancelled');
      answers.push(await recommend(kernel, catalog, query));
    } catch (thrown) {
      answers.push(EspalierError.from(thrown));
    }
  }
  return answers;
}

/** Decodes one request under its constraint. */
export async function recommend(
  kernel: Kernel,
  catalog: ActiveCatalog,
  query: RecommendQuery,
): Promise<RecommendAnswer> {
  const startMs = performance.now();
  const queueMs = Math.max(0, performance.timeOrigin + startMs - query.enqueuedAtMs);
  const deadlineMs = query.deadlineAtMs - performance.timeOrigin;
  if (startMs >= deadlineMs) throw new EspalierError('ESP_TIMEOUT', 'the deadline passed in the queue');
  checkAttributes(catalog, query.attributes);

  const { trie, leafItems } = catalog.items;
  const unknown = new Set<string>();
  const history = catalog.numbersOf(query.history, unknown);
  const { set, setVersion } = resolveConstraint(catalog, query, unknown);
  const excluded = catalog.numbersOf(query.constraint.exclude ?? [], unknown);
  if (query.excludeHistory) excluded.push(...history);
  const exclusions = excluded.length > 0 ? prepareExclusions(leafItems, set, excluded) : null;
  const allowedCount = (set?.itemCount ?? leafItems.itemCount) - (exclusions?.excludedFromSet ?? 0);

  const tokens = historyTokens(
    catalog.model,
    history.map((item) => sidOf(catalog.items, item)),
  );
  if (tokens.length === 0) {
    throw new EspalierError('ESP_HISTORY_EMPTY', 'no history item is known, and the model has no bos token', {
      details: [
        { field: 'history', expected: 'at least one known item', found: `${query.history.length} unknown` },
      ],
    });
  }
  const preparedMs = performance.now();
  let result: BeamSearchResult = {
    leaves: new Uint32Array(0),
    scores: new Float32Array(0),
    modelMs: 0,
    constraintMs: 0,
  };
  if (allowedCount > 0) {
    result = await search(kernel, catalog, query, {
      trie,
      live: set?.live ?? null,
      dead: exclusions?.dead ?? null,
      tokens,
      beamWidth: query.beamWidth,
      normalize: query.normalize,
      temperature: query.temperature,
      deadlineMs,
    });
  }
  const items = bestItems(catalog, query, result, set, exclusions);
  const shortfall = shortfallOf(items.length, query.k, allowedCount);
  return {
    items,
    complete: shortfall === undefined,
    ...(shortfall && { shortfall }),
    unknownItems: [...unknown],
    versions: {
      catalog: catalog.version,
      ...(setVersion !== undefined && { constraintSet: setVersion }),
      model: catalog.modelVersion,
    },
    timings: {
      queueMs,
      modelMs: result.modelMs,
      constraintMs: preparedMs - startMs + result.constraintMs,
      totalMs: queueMs + performance.now() - startMs,
    },
  };
}

/** Set, filter and include intersect; null allows every item of the catalog. */
function resolveConstraint(
  catalog: ActiveCatalog,
  { constraint }: RecommendQuery,
  unknown: Set<string>,
): { set: ConstraintSet | null; setVersion: number | undefined } {
  const { trie, leafItems } = catalog.items;
  const snapshot = constraint.set === undefined ? undefined : catalog.set(constraint.set);
  const parts: ConstraintSet[] = snapshot === undefined ? [] : [snapshot.set];
  if (constraint.filter !== undefined) parts.push(catalog.filter(constraint.filter, constraint.params ?? {}));
  if (constraint.include !== undefined) {
    const itemBits = new Uint32Array(wordsFor(leafItems.itemCount));
    for (const item of catalog.numbersOf(constraint.include, unknown)) setBit(itemBits, item);
    parts.push(constraintSetFromItems(trie, leafItems, itemBits));
  }
  const set =
    parts.length === 0 ? null : parts.reduce((all, part) => combineSets('and', trie, leafItems, all, part));
  return { set, setVersion: snapshot?.version };
}

async function search(
  kernel: Kernel,
  catalog: ActiveCatalog,
  query: RecommendQuery,
  input: Parameters<typeof beamSearch>[2],
): Promise<BeamSearchResult> {
  try {
    return await beamSearch(kernel, catalog.model, input);
  } catch (thrown) {
    if (!(thrown instanceof EspalierError)) throw thrown;
    throw new EspalierError(thrown.code, `request ${query.requestId}, ${thrown.message}`, {
      cause: thrown,
      ...(thrown.details && { details: thrown.details }),
    });
  }
}

/** The k best items on the leaves found: by score, then by id. Every one is checked against the constraint. */
function bestItems(
  catalog: ActiveCatalog,
  { k, attributes }: RecommendQuery,
  { leaves, scores }: BeamSearchResult,
  set: ConstraintSet | null,
  exclusions: Exclusions | null,
): RecommendAnswer['items'] {
  const { leafItems, ids } = catalog.items;
  const found: { item: number; leaf: number; score: number }[] = [];
  leaves.forEach((leaf, index) => {
    const end = firstItemOf(leafItems, leaf + 1);
    for (let item = firstItemOf(leafItems, leaf); item < end; item++) {
      if (!setHasItem(leafItems, set, item) || (exclusions && isExcluded(exclusions, item))) continue;
      found.push({ item, leaf, score: scores[index] });
    }
  });
  // Items of one leaf are numbered in the order of their ids.
  const compareIds = (a: (typeof found)[0], b: (typeof found)[0]) =>
    a.leaf === b.leaf ? a.item - b.item : compareCodeUnits(ids.at(a.item), ids.at(b.item));
  found.sort((a, b) => b.score - a.score || compareIds(a, b));
  return found.slice(0, k).map(({ item, score }) => ({
    id: ids.at(item),
    // Nine digits tell any two float32 values apart.
    score: Number(score.toPrecision(9)),
    sid: Array.from(sidOf(catalog.items, item)),
    ...(attributes.length > 0 && { attributes: attributesOf(catalog, item, attributes) }),
  }));
}

function shortfallOf(found: number, k: number, allowed: number): RecommendAnswer['shortfall'] {
  if (found >= k) return undefined;
  if (allowed === 0) {
    return { code: 'ESP_SHORTFALL_NOTHING_ALLOWED', message: 'the constraint allows no item' };
  }
  if (allowed < k) {
    const message = `the constraint allows ${allowed} item${allowed === 1 ? '' : 's'}, fewer than k = ${k}`;
    return { code: 'ESP_SHORTFALL_FEW_ALLOWED', message };
  }
  const message = `${allowed} items are allowed, but the beam ended on ${found}; a wider beam finds more`;
  return { code: 'ESP_SHORTFALL_BEAM', message };
}

function attributesOf(
  { items }: ActiveCatalog,
  item: number,
  names: readonly string[],
): Record<string, AttributeValue | null> {
  return Object.fromEntries(
    names.map((name) => {
      const column = items.table.columns.get(name)!;
      return [name, jsonValueAt(column, item) ?? null];
    }),
  );
}

function checkAttributes({ items, name }: ActiveCatalog, wanted: readonly string[]): void {
  const unknown = wanted.filter((attribute) => !items.table.columns.has(attribute));
  if (unknown.length === 0) return;
  const expected = `one of ${[...items.table.columns.keys()].join(', ')}`;
  throw new EspalierError(
    'ESP_ATTRIBUTE_NOT_FOUND',
    `catalog ${name} has no attribute ${unknown.join(', ')}`,
    {
      details: unknown.map((found) => ({ field: 'attributes', expected, found })),
    },
  );
}
