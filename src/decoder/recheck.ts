import { ruleTruth, sidOf } from '../static-trie/index.js';
import type { PreparedRequest } from './prepare-request.js';
import { areListed } from './recheck-list.js';
import type { RecommendAnswer } from './recommend-query.js';

/** What an answered item can break: it is not the catalog's, or something keeps it from being answered. */
export const violationKinds = [
  'item',
  'sid',
  'repeated',
  'removed',
  'set',
  'filter',
  'include',
  'exclude',
  'history',
] as const;
export type ViolationKind = (typeof violationKinds)[number];

export interface Violation {
  id: string;
  kind: ViolationKind;
}

/** What a second look at an answer came to. */
export interface Recheck {
  requestId: string;
  catalog: string;
  versions: RecommendAnswer['versions'];
  /** The named set; undefined where the request names none. */
  set: string | undefined;
  items: number;
  /** Whether the set could not be asked: it knows later changes than the request, or its list is too long to read. */
  isPartial: boolean;
  /** Why there was no second look after all. */
  failure?: string;
  violations: Violation[];
}

/**
 * Looks at an answer again, item by item, from what the request asked for and what the catalog's items are: rules are
 * evaluated anew over the items' values, lists are read from their file. None of the bitmaps that the answer was made
 * with has a part in it, so a wrong one shows.
 */
export function recheck(request: PreparedRequest, answer: RecommendAnswer): Recheck {
  const { query, snapshot } = request;
  const { constraint, history, excludeHistory } = query;
  const violations: Violation[] = [];
  const report = (id: string, kind: ViolationKind) => violations.push({ id, kind });
  const known: { id: string; item: number }[] = [];
  const seen = new Set<string>();
  for (const { id, sid } of answer.items) {
    if (seen.has(id)) report(id, 'repeated');
    seen.add(id);
    const item = snapshot.version.ids.find(id);
    if (item < 0) {
      report(id, 'item');
      continue;
    }
    known.push({ id, item });
    if (String(sid) !== String(Array.from(sidOf(snapshot.version, item)))) report(id, 'sid');
    if (snapshot.isRemoved(item)) report(id, 'removed');
    if (constraint.include?.includes(id) === false) report(id, 'include');
    if (constraint.exclude?.includes(id)) report(id, 'exclude');
    if (excludeHistory && history.includes(id)) report(id, 'history');
  }
  const inSet = setTruth(request, known);
  const byFilter = filterTruth(request, known);
  known.forEach(({ id }, index) => {
    if (inSet?.[index] === false) report(id, 'set');
    if (byFilter?.[index] === false) report(id, 'filter');
  });
  return {
    requestId: query.requestId,
    catalog: query.catalog,
    versions: answer.versions,
    set: constraint.set,
    items: answer.items.length,
    isPartial: constraint.set !== undefined && inSet === undefined,
    violations,
  };
}

type KnownItem = { id: string; item: number };

/** @returns undefined where there is no set, or it cannot be asked. */
function setTruth({ query, snapshot }: PreparedRequest, known: readonly KnownItem[]): boolean[] | undefined {
  const bound = query.constraint.set === undefined ? undefined : snapshot.sets.get(query.constraint.set);
  if (bound === undefined) return undefined;
  const { rule, compiled, list, changesUpTo } = bound;
  if (rule !== null && compiled !== null) {
    // Evaluated elsewhere, where later changes were in force already.
    if (changesUpTo > snapshot.changesUpTo) return undefined;
    const readValue = (name: string, index: number) => snapshot.valueOf(name, known[index].item);
    return ruleTruth(compiled, snapshot.schema, known.length, readValue, rule.nowMs);
  }
  if (list === undefined) return undefined;
  return areListed(
    list,
    known.map(({ id, item }) => ({ id, sid: Array.from(sidOf(snapshot.version, item)) })),
  );
}

function filterTruth(
  { snapshot, filter }: PreparedRequest,
  known: readonly KnownItem[],
): boolean[] | undefined {
  if (filter === undefined) return undefined;
  const readValue = (name: string, index: number) => snapshot.valueOf(name, known[index].item);
  return ruleTruth(filter.rule, snapshot.schema, known.length, readValue, filter.nowMs);
}
