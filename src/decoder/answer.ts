import { firstItemOf } from '../kernels/index.js';
import {
  type AttributeValue,
  type CatalogSnapshot,
  compareCodeUnits,
  isExcluded,
  setHasItem,
  sidOf,
} from '../static-trie/index.js';
import type { SearchResult } from './batch-search.js';
import { DiversityFilter } from './diversity.js';
import { type Explainer, type FoundItem, shortScore } from './explain.js';
import type { PreparedRequest } from './prepare-request.js';
import type { AnswerItem, RecommendAnswer, Timings } from './recommend-query.js';

interface RankedItem {
  item: number;
  score: number;
}

interface Choice {
  kept: RankedItem[];
  /** Items that were found; those behind the k-th are counted only where they are explained. */
  foundCount: number;
  /** What became of the items that the explainer watches. */
  outcomes: ReadonlyMap<number, FoundItem>;
}

/** The answer to a request whose search is done: its best items, or why there are fewer than asked for. */
export function answerOf(
  request: PreparedRequest,
  result: SearchResult,
  times: Pick<Timings, 'prefillMs' | 'modelMs' | 'constraintMs'>,
  explainer: Explainer | undefined,
): RecommendAnswer {
  const { catalog, snapshot, query, setVersion, startedAtMs, queueMs, unknownItems } = request;
  const { kept, foundCount, outcomes } = chooseItems(request, result, explainer);
  const shortfall = shortfallOf(request, foundCount, kept.length);
  return {
    items: kept.map((one) => toAnswerItem(snapshot, query.attributes, one)),
    complete: shortfall === undefined,
    ...(shortfall && { shortfall }),
    unknownItems,
    versions: {
      catalog: catalog.version,
      ...(setVersion !== undefined && { constraintSet: setVersion }),
      model: catalog.modelVersion,
    },
    timings: {
      queueMs,
      prefillMs: times.prefillMs,
      modelMs: times.modelMs,
      constraintMs: request.constraintMs + times.constraintMs,
      totalMs: queueMs + performance.now() - startedAtMs,
    },
    ...(explainer && { explain: explainer.explain(outcomes) }),
  };
}

/** Greedily from the best on: the first k that the diversity lets through. */
function chooseItems(
  request: PreparedRequest,
  result: SearchResult,
  explainer: Explainer | undefined,
): Choice {
  const { snapshot, query } = request;
  const { k, diversity } = query;
  const filter =
    diversity && new DiversityFilter((item) => snapshot.valueOf(diversity.attribute, item), diversity.max);
  const kept: RankedItem[] = [];
  const outcomes = new Map<number, FoundItem>();
  let foundCount = 0;
  for (const one of rankedItems(request, result)) {
    foundCount++;
    const hasRoom = kept.length < k;
    const isAnswered = hasRoom && (filter?.admit(one.item) ?? true);
    if (isAnswered) kept.push(one);
    if (explainer?.watches(one.item)) {
      const outcome = isAnswered ? 'answered' : hasRoom ? 'diversity' : 'beyondK';
      outcomes.set(one.item, { outcome, rank: foundCount, score: one.score });
    }
    if (kept.length === k && explainer === undefined) break;
  }
  return { kept, foundCount, outcomes };
}

/** Every item on the leaves found that itself is allowed: by score, then by id. */
function* rankedItems(request: PreparedRequest, { leaves, scores }: SearchResult): Generator<RankedItem> {
  const { ids } = request.catalog.items;
  for (let from = 0, end = 0; from < leaves.length; from = end) {
    const score = scores[from];
    while (end < leaves.length && scores[end] === score) end++;
    if (end === from + 1) {
      // Items of one leaf are numbered in the order of their ids.
      for (const item of allowedItemsOf(request, leaves[from])) yield { item, score };
    } else {
      const tied: { item: number; id: string }[] = [];
      for (let index = from; index < end; index++) {
        for (const item of allowedItemsOf(request, leaves[index])) tied.push({ item, id: ids.at(item) });
      }
      tied.sort((a, b) => compareCodeUnits(a.id, b.id));
      for (const { item } of tied) yield { item, score };
    }
  }
}

/** A leaf lives as soon as one of its items is allowed, so each is asked again. */
function* allowedItemsOf({ catalog, set, exclusions }: PreparedRequest, leaf: number): Generator<number> {
  const { leafItems } = catalog.items;
  const end = firstItemOf(leafItems, leaf + 1);
  for (let item = firstItemOf(leafItems, leaf); item < end; item++) {
    if (!setHasItem(leafItems, set, item)) continue;
    if (exclusions === null || !isExcluded(exclusions, item)) yield item;
  }
}

function shortfallOf(
  { query: { k, diversity }, allowedCount: allowed }: PreparedRequest,
  found: number,
  kept: number,
): RecommendAnswer['shortfall'] {
  if (kept >= k) return undefined;
  if (allowed === 0) {
    return { code: 'ESP_SHORTFALL_NOTHING_ALLOWED', message: 'the constraint allows no item' };
  }
  if (diversity !== undefined && kept < found) {
    const limit = `at most ${diversity.max} of each ${diversity.attribute}`;
    const more = found < allowed ? '; a wider beam may find more' : '';
    const message = `${found} of ${allowed} allowed items were found, but ${limit} leaves ${kept}${more}`;
    return { code: 'ESP_SHORTFALL_DIVERSITY', message };
  }
  if (allowed < k) {
    const message = `the constraint allows ${allowed} item${allowed === 1 ? '' : 's'}, fewer than k = ${k}`;
    return { code: 'ESP_SHORTFALL_FEW_ALLOWED', message };
  }
  const message = `${allowed} items are allowed, but the beam ended on ${found}; a wider beam may find more`;
  return { code: 'ESP_SHORTFALL_BEAM', message };
}

function toAnswerItem(
  snapshot: CatalogSnapshot,
  attributes: readonly string[],
  { item, score }: RankedItem,
): AnswerItem {
  return {
    id: snapshot.version.ids.at(item),
    score: shortScore(score),
    sid: Array.from(sidOf(snapshot.version, item)),
    ...(attributes.length > 0 && { attributes: attributesOf(snapshot, item, attributes) }),
  };
}

function attributesOf(
  snapshot: CatalogSnapshot,
  item: number,
  names: readonly string[],
): Record<string, AttributeValue | null> {
  return Object.fromEntries(names.map((name) => [name, snapshot.jsonValueOf(name, item) ?? null]));
}
