import { firstItemOf } from '../kernels/index.js';
import {
  type AttributeValue,
  compareCodeUnits,
  isExcluded,
  jsonValueAt,
  setHasItem,
  sidOf,
} from '../static-trie/index.js';
import type { ActiveCatalog } from './active-catalog.js';
import type { SearchResult } from './batch-search.js';
import { DiversityFilter } from './diversity.js';
import { type Explainer, type FoundItems, shortScore } from './explain.js';
import type { PreparedRequest } from './prepare-request.js';
import type { AnswerItem, RecommendAnswer } from './recommend-query.js';

interface RankedItem {
  item: number;
  leaf: number;
  score: number;
}

/** The answer to a request whose search is done: its best items, or why there are fewer than asked for. */
export function answerOf(
  request: PreparedRequest,
  result: SearchResult,
  times: { modelMs: number; constraintMs: number },
  explainer: Explainer | undefined,
): RecommendAnswer {
  const { catalog, query, setVersion, startedAtMs, queueMs, unknownItems } = request;
  const ranked = rankItems(request, result);
  const { kept, outcomes } = chooseItems(request, ranked);
  const shortfall = shortfallOf(request, ranked.length, kept.length);
  return {
    items: kept.map((one) => toAnswerItem(catalog, query.attributes, one)),
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
      modelMs: times.modelMs,
      constraintMs: request.constraintMs + times.constraintMs,
      totalMs: queueMs + performance.now() - startedAtMs,
    },
    ...(explainer && { explain: explainer.explain(outcomes) }),
  };
}

/** Every item on the leaves found that itself is allowed: by score, then by id. */
function rankItems(
  { catalog, set, exclusions }: PreparedRequest,
  { leaves, scores }: SearchResult,
): RankedItem[] {
  const { leafItems, ids } = catalog.items;
  const found: RankedItem[] = [];
  leaves.forEach((leaf, index) => {
    const end = firstItemOf(leafItems, leaf + 1);
    for (let item = firstItemOf(leafItems, leaf); item < end; item++) {
      if (!setHasItem(leafItems, set, item) || (exclusions && isExcluded(exclusions, item))) continue;
      found.push({ item, leaf, score: scores[index] });
    }
  });
  // Items of one leaf are numbered in the order of their ids.
  const compareIds = (a: RankedItem, b: RankedItem) =>
    a.leaf === b.leaf ? a.item - b.item : compareCodeUnits(ids.at(a.item), ids.at(b.item));
  return found.sort((a, b) => b.score - a.score || compareIds(a, b));
}

/** Greedily from the best on: the first k that the diversity lets through. */
function chooseItems(
  { catalog, query: { k, diversity } }: PreparedRequest,
  ranked: readonly RankedItem[],
): { kept: RankedItem[]; outcomes: FoundItems } {
  const filter =
    diversity && new DiversityFilter(catalog.items.table.columns.get(diversity.attribute)!, diversity.max);
  const kept: RankedItem[] = [];
  const outcomes = new Map<
    number,
    { outcome: 'answered' | 'beyondK' | 'diversity'; rank: number; score: number }
  >();
  ranked.forEach((one, index) => {
    const isAnswered = kept.length < k && (filter?.admit(one.item) ?? true);
    const outcome = isAnswered ? 'answered' : kept.length < k ? 'diversity' : 'beyondK';
    if (isAnswered) kept.push(one);
    outcomes.set(one.item, { outcome, rank: index + 1, score: one.score });
  });
  return { kept, outcomes };
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
    const message = `${found} items were found, but ${limit} leaves ${kept}; a wider beam finds more`;
    return { code: 'ESP_SHORTFALL_DIVERSITY', message };
  }
  if (allowed < k) {
    const message = `the constraint allows ${allowed} item${allowed === 1 ? '' : 's'}, fewer than k = ${k}`;
    return { code: 'ESP_SHORTFALL_FEW_ALLOWED', message };
  }
  const message = `${allowed} items are allowed, but the beam ended on ${found}; a wider beam finds more`;
  return { code: 'ESP_SHORTFALL_BEAM', message };
}

function toAnswerItem(
  catalog: ActiveCatalog,
  attributes: readonly string[],
  { item, score }: RankedItem,
): AnswerItem {
  return {
    id: catalog.items.ids.at(item),
    score: shortScore(score),
    sid: Array.from(sidOf(catalog.items, item)),
    ...(attributes.length > 0 && { attributes: attributesOf(catalog, item, attributes) }),
  };
}

function attributesOf(
  { items }: ActiveCatalog,
  item: number,
  names: readonly string[],
): Record<string, AttributeValue | null> {
  return Object.fromEntries(
    names.map((name) => [name, jsonValueAt(items.table.columns.get(name)!, item) ?? null]),
  );
}
