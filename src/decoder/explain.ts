import {
  ChildList,
  type LevelTokens,
  leafOfItem,
  listLiveChildren,
  scaledLogit,
  tokenOf,
} from '../kernels/index.js';
import { isExcluded, setHasItem } from '../static-trie/index.js';
import type { StepView } from './batch-search.js';
import type { ExplainedItem, ExplainedStep, Explanation } from './explanation.js';
import type { PreparedRequest } from './prepare-request.js';

/** What the answer made of an item that the search has found. */
export interface FoundItem {
  outcome: 'answered' | 'beyondK' | 'diversity';
  rank: number;
  score: number;
}

interface Watched {
  id: string;
  /** -1 where the catalog has no such item. */
  item: number;
  leaf: number;
  dropped?: { level: number; score: number | null; cut: number | null };
}

/** Watches a request's steps, and says afterwards what happened. */
export class Explainer {
  readonly #request: PreparedRequest;
  readonly #tokens: readonly LevelTokens[];
  readonly #steps: ExplainedStep[] = [];
  readonly #watched: Watched[] = [];
  readonly #children = new ChildList();

  constructor(request: PreparedRequest, ids: readonly string[]) {
    this.#request = request;
    const { items, model } = request.catalog;
    this.#tokens = model.levelTokens;
    for (const id of ids) {
      const item = items.ids.find(id);
      this.#watched.push({ id, item, leaf: item < 0 ? -1 : leafOfItem(items.leafItems, item) });
    }
  }

  /** Whether the item's outcome is asked for. */
  watches(item: number): boolean {
    return this.#watched.some((watched) => watched.item === item);
  }

  /** Called after each step. */
  observe(view: StepView): void {
    const { depth, batch, request, firstChild } = view;
    const { rows, levelCount } = this.#request.constraint.trie;
    const count = batch.counts[request];
    const kept = Array.from({ length: count }, (_, rank) => {
      const leaf = batch.childLo[firstChild + rank] * levelCount;
      return {
        sid: Array.from(rows.subarray(leaf, leaf + depth + 1)),
        score: shortScore(batch.childScores[firstChild + rank]),
      };
    });
    this.#steps.push({ level: depth, liveChildren: this.#countLive(view), kept });
    for (const watched of this.#watched) this.#follow(watched, view);
  }

  /** @param found what the answer made of the watched items that the search ended on */
  explain(found: ReadonlyMap<number, FoundItem>): Explanation {
    const steps = this.#steps;
    if (this.#watched.length === 0) return { steps };
    return { steps, items: this.#watched.map((watched) => this.#outcomeOf(watched, found)) };
  }

  /** Children that are live and whose logit is finite. */
  #countLive({ depth, batch, request, firstBeam, logits }: StepView): number {
    const { trie, live, dead } = this.#request.constraint;
    let total = 0;
    for (let beam = 0; beam < batch.beamCounts[request]; beam++) {
      const index = firstBeam + beam;
      listLiveChildren(trie, depth, batch.nodeLo[index], batch.nodeHi[index], live, dead, this.#children);
      const start = (logits.firstRows[request] + beam) * logits.vocabSize;
      for (let child = 0; child < this.#children.count; child++) {
        const token = tokenOf(this.#tokens[depth], this.#children.codes[child]);
        if (logits.data[start + token] > Number.NEGATIVE_INFINITY) total++;
      }
    }
    return total;
  }

  /** Notes the step at which the item's prefix was a beam and its next code was not kept. */
  #follow(watched: Watched, view: StepView): void {
    const { depth, batch, request, firstBeam, firstChild, logits } = view;
    const { leaf, item } = watched;
    if (item < 0 || watched.dropped !== undefined) return;
    const holdsLeaf = (lo: Uint32Array, hi: Uint32Array, first: number, count: number) => {
      for (let index = first; index < first + count; index++) {
        if (lo[index] <= leaf && leaf < hi[index]) return index - first;
      }
      return -1;
    };
    const count = batch.counts[request];
    if (holdsLeaf(batch.childLo, batch.childHi, firstChild, count) >= 0) return;
    const beam = holdsLeaf(batch.nodeLo, batch.nodeHi, firstBeam, batch.beamCounts[request]);
    if (beam < 0) return;
    const { trie } = this.#request.constraint;
    const token = tokenOf(this.#tokens[depth], trie.rows[leaf * trie.levelCount + depth]);
    const raw = logits.data[(logits.firstRows[request] + beam) * logits.vocabSize + token];
    const logit = scaledLogit(raw, batch.temperatures[request]);
    const index = firstBeam + beam;
    const score = batch.scores[index] + Math.fround(logit - batch.normalizers[index]);
    watched.dropped = {
      level: depth,
      score: logit === Number.NEGATIVE_INFINITY ? null : shortScore(Math.fround(score)),
      cut: count === 0 ? null : shortScore(batch.childScores[firstChild + count - 1]),
    };
  }

  #outcomeOf({ id, item, dropped }: Watched, found: ReadonlyMap<number, FoundItem>): ExplainedItem {
    if (item < 0) return { id, outcome: 'unknown' };
    const excludedBy = this.#excludersOf(item);
    if (excludedBy.length > 0) return { id, outcome: 'excluded', excludedBy };
    const answered = found.get(item);
    if (answered !== undefined) {
      const { outcome, rank, score } = answered;
      return { id, outcome, rank, score: shortScore(score) };
    }
    // An allowed item's prefix is in the beam until a step drops it, or it is found.
    return { id, outcome: 'dropped', ...dropped! };
  }

  /** Every part of the request that keeps the item from being answered. */
  #excludersOf(item: number): string[] {
    const { parts, included, exclusions, query, snapshot } = this.#request;
    const { leafItems, ids } = snapshot.version;
    const names = parts.filter(({ set }) => !setHasItem(leafItems, set, item)).map(({ name }) => name);
    if (snapshot.isRemoved(item)) names.unshift('removed');
    if (included !== null && !included.has(item)) names.push('include');
    if (exclusions !== null && isExcluded(exclusions, item)) {
      const id = ids.at(item);
      if (query.constraint.exclude?.includes(id)) names.push('exclude');
      if (query.excludeHistory && query.history.includes(id)) names.push('history');
    }
    return names;
  }
}

/**
 * A score as answers show it: nine digits tell any two float32 values apart. One that is too low for a float32, where the
 * kernels hold −infinity, becomes the lowest finite float32, since JSON has no infinity.
 */
export function shortScore(score: number): number {
  return Math.max(Number(score.toPrecision(9)), LOWEST_FLOAT32);
}

const LOWEST_FLOAT32 = -(2 - 2 ** -23) * 2 ** 127;
