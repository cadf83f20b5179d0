import { type ErrorDetail, EspalierError, fieldError } from '../errors.js';
import type { Constraint } from '../kernels/index.js';
import {
  type CatalogSnapshot,
  type ConstraintSet,
  constraintSetFromList,
  type Exclusions,
  prepareExclusions,
  setHasItem,
  sidOf,
} from '../static-trie/index.js';
import type { ActiveCatalog, NamedSet, ResolvedSets } from './active-catalog.js';
import { historyTokens, maxHistoryTokens } from './history-tokens.js';
import { monotonicMs } from './monotonic-ms.js';
import type { RecommendQuery } from './recommend-query.js';

/** A request with everything that its decode needs, pinned to the catalog version, sets and model it began with. */
export interface PreparedRequest {
  query: RecommendQuery;
  catalog: ActiveCatalog;
  /** The catalog's items as they were when the request began. */
  snapshot: CatalogSnapshot;
  /** What the model reads. */
  tokens: readonly number[];
  constraint: Constraint;
  /** What set, filter and include allow together; null where every item is allowed. Removed items may be in it. */
  set: ConstraintSet | null;
  /** The named set and the filter that are in `set`, removed items among theirs. */
  parts: readonly NamedSet[];
  /** The items of `include`; null where the request has none. */
  included: ReadonlySet<number> | null;
  setVersion: number | undefined;
  filter: ResolvedSets['filter'];
  /** Of the request's own, and of removed items that `set` has. */
  exclusions: Exclusions | null;
  /** Items that the request may get. */
  allowedCount: number;
  /** [levels] */
  beamWidths: readonly number[];
  unknownItems: string[];
  startedAtMs: number;
  queueMs: number;
  /** On the clock of performance.now(). */
  deadlineMs: number;
  /** Time that went into sets and exclusions. */
  constraintMs: number;
}

/**
 * @throws EspalierError ESP_TIMEOUT, ESP_ATTRIBUTE_NOT_FOUND, ESP_SET_NOT_FOUND, ESP_SET_STALE, ESP_RULE_…,
 *   ESP_BEAM_WIDTH, ESP_HISTORY_EMPTY, ESP_REQUEST_INVALID
 */
export function prepareRequest(catalog: ActiveCatalog, query: RecommendQuery): PreparedRequest {
  const startedAtMs = performance.now();
  const nowMs = monotonicMs();
  const queueMs = Math.max(0, nowMs - query.enqueuedAtMs);
  const deadlineMs = startedAtMs + query.deadlineAtMs - nowMs;
  if (startedAtMs >= deadlineMs) throw new EspalierError('ESP_TIMEOUT', 'the deadline passed in the queue');
  checkAttributes(catalog, query);
  const beamWidths = beamWidthsOf(catalog, query);

  const unknown = new Set<string>();
  const history = catalog.numbersOf(query.history, unknown);
  const tokens = tokensOf(catalog, query, history);

  const constraintStartMs = performance.now();
  const { snapshot } = catalog;
  const { parts, included, set, removed, filter, version: setVersion } = resolveSets(catalog, query, unknown);
  const excluded = catalog.numbersOf(query.constraint.exclude ?? [], unknown);
  if (query.excludeHistory) excluded.push(...history);
  excluded.push(...removed);
  const { leafItems } = catalog.items;
  const exclusions = excluded.length > 0 ? prepareExclusions(leafItems, set, excluded) : null;
  const constraint = catalog.constraintOf(set);
  return {
    query,
    catalog,
    snapshot,
    tokens,
    constraint: exclusions === null ? constraint : { ...constraint, dead: exclusions.dead },
    set,
    parts,
    included,
    setVersion,
    filter,
    exclusions,
    allowedCount: (set?.itemCount ?? leafItems.itemCount) - (exclusions?.excludedFromSet ?? 0),
    beamWidths,
    unknownItems: [...unknown],
    startedAtMs,
    queueMs,
    deadlineMs,
    constraintMs: performance.now() - constraintStartMs,
  };
}

interface EffectiveSets extends ResolvedSets {
  included: ReadonlySet<number> | null;
  /** Removed items that are still in the set. */
  removed: readonly number[];
}

/** Set, filter and include intersect, and removed items are taken out. */
function resolveSets(
  catalog: ActiveCatalog,
  { constraint }: RecommendQuery,
  unknown: Set<string>,
): EffectiveSets {
  const resolved = catalog.resolve(constraint);
  const { snapshot } = catalog;
  if (constraint.include === undefined) {
    const { set, excluded: removed } = snapshot.withoutRemoved(resolved.set);
    return { ...resolved, set, removed, included: null };
  }
  const { trie, leafItems } = catalog.items;
  const included = new Set(catalog.numbersOf(constraint.include, unknown));
  const allowed = [...included].filter(
    (item) => setHasItem(leafItems, resolved.set, item) && !snapshot.isRemoved(item),
  );
  return { ...resolved, included, set: constraintSetFromList(trie, leafItems, allowed), removed: [] };
}

function tokensOf(
  { items, model }: ActiveCatalog,
  { history: ids, inputIds }: RecommendQuery,
  history: readonly number[],
): readonly number[] {
  if (inputIds !== undefined) {
    checkInputIds(inputIds, model.vocabSize, maxHistoryTokens(model.manifest));
    return inputIds;
  }
  const tokens = historyTokens(
    model,
    history.map((item) => sidOf(items, item)),
  );
  if (tokens.length > 0) return tokens;
  throw new EspalierError('ESP_HISTORY_EMPTY', 'no history item is known, and the model has no bos token', {
    details: [{ field: 'history', expected: 'at least one known item', found: `${ids.length} unknown` }],
  });
}

function checkInputIds(inputIds: readonly number[], vocabSize: number, maxTokens: number): void {
  if (inputIds.length < 1 || inputIds.length > maxTokens) {
    throw fieldError('ESP_REQUEST_INVALID', 'inputIds', `1 to ${maxTokens} tokens`, String(inputIds.length));
  }
  const bad = inputIds.findIndex((token) => token >= vocabSize);
  if (bad < 0) return;
  const expected = `a token below the model's vocabulary of ${vocabSize}`;
  throw fieldError('ESP_REQUEST_INVALID', `inputIds[${bad}]`, expected, String(inputIds[bad]));
}

function beamWidthsOf({ model }: ActiveCatalog, { beamWidth, k }: RecommendQuery): readonly number[] {
  const levels = model.levelTokens.length;
  if (typeof beamWidth === 'number') return new Array<number>(levels).fill(beamWidth);
  if (beamWidth.length !== levels) {
    throw fieldError(
      'ESP_BEAM_WIDTH',
      'beamWidth',
      `${levels} widths, one for each level`,
      String(beamWidth.length),
    );
  }
  const last = beamWidth[levels - 1];
  if (last < k)
    throw fieldError('ESP_BEAM_WIDTH', `beamWidth[${levels - 1}]`, `at least ${k} (k)`, String(last));
  return beamWidth;
}

/** Attributes that the answer is to have, and the one that it is to be diverse in. */
function checkAttributes({ items, name }: ActiveCatalog, { attributes, diversity }: RecommendQuery): void {
  const { columns } = items.table;
  const known = [...columns.keys()].join(', ') || 'none';
  const details: ErrorDetail[] = attributes
    .filter((attribute) => !columns.has(attribute))
    .map((found) => ({ field: 'attributes', expected: `one of ${known}`, found }));
  if (diversity !== undefined && !columns.has(diversity.attribute)) {
    details.push({ field: 'diversity.attribute', expected: `one of ${known}`, found: diversity.attribute });
  }
  if (details.length === 0) return;
  const names = details.map(({ found }) => found).join(', ');
  throw new EspalierError('ESP_ATTRIBUTE_NOT_FOUND', `catalog ${name} has no attribute ${names}`, {
    details,
  });
}
