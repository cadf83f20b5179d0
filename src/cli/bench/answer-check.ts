import type { RecommendAnswer, RecommendQuery } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { isBitSet } from '../../kernels/index.js';
import {
  type AttributeValue,
  type CatalogSnapshot,
  type CompiledRule,
  compileRule,
  type RuleParams,
  ruleTruth,
  selectListed,
  sidOf,
} from '../../static-trie/index.js';
import type { SubjectSet } from './subject.js';

/** A filter's `now` is the last full minute. */
const MINUTE_MS = 60_000;

type IsAllowed = (item: number) => boolean;

/**
 * Looks at answers item by item: from what was asked for and what the catalog's items are. Rules are evaluated over
 * the item's own values and lists are read from their file, so that a wrong bitmap shows.
 */
export class AnswerCheck {
  readonly #snapshot: CatalogSnapshot;
  readonly #sets: ReadonlyMap<string, IsAllowed>;
  readonly #filters = new Map<string, CompiledRule>();
  #answerCount = 0;
  #itemCount = 0;

  constructor(snapshot: CatalogSnapshot, sets: readonly SubjectSet[]) {
    this.#snapshot = snapshot;
    this.#sets = new Map(sets.map((set) => [set.name, this.#truthOf(set)]));
  }

  /** What was looked at, and found right. */
  get counts(): { answers: number; items: number } {
    return { answers: this.#answerCount, items: this.#itemCount };
  }

  /**
   * @param label of the constraint, for the error
   * @throws EspalierError ESP_INTERNAL with the item and what keeps it from being answered
   */
  check(query: RecommendQuery, answer: RecommendAnswer, label: string): void {
    const { items } = answer;
    if (items.length > query.k) {
      throw wrong(query, label, `has ${items.length} items; expected at most ${query.k}`);
    }
    const seen = new Set<string>();
    items.forEach(({ id, sid, score }, rank) => {
      const fault = this.#faultOf(query, id, sid) ?? (seen.has(id) ? 'is there twice' : undefined);
      if (fault !== undefined) throw wrong(query, label, `has item ${JSON.stringify(id)}, which ${fault}`);
      if (rank > 0 && score > items[rank - 1].score) {
        throw wrong(query, label, `has item ${JSON.stringify(id)} behind one with a lower score`);
      }
      seen.add(id);
    });
    if (
      answer.complete !== (items.length === query.k) ||
      answer.complete === (answer.shortfall !== undefined)
    ) {
      throw wrong(query, label, `has ${items.length} of ${query.k} items, and does not say so`);
    }
    this.#answerCount++;
    this.#itemCount += items.length;
  }

  #faultOf(query: RecommendQuery, id: string, sid: readonly number[]): string | undefined {
    const { constraint, history, excludeHistory } = query;
    const { version } = this.#snapshot;
    const item = version.ids.find(id);
    if (item < 0) return 'the catalog does not have';
    const own = Array.from(sidOf(version, item));
    if (String(own) !== String(sid)) return `has the SID ${own.join('-')}, not ${sid.join('-')}`;
    if (this.#snapshot.isRemoved(item)) return 'was removed';
    if (constraint.set !== undefined && this.#sets.get(constraint.set)?.(item) !== true) {
      return 'the set does not allow';
    }
    if (constraint.filter !== undefined && !this.#passes(constraint.filter, constraint.params ?? {}, item)) {
      return 'the filter does not allow';
    }
    if (constraint.include?.includes(id) === false) return 'is not among those to include';
    if (constraint.exclude?.includes(id)) return 'is among those to exclude';
    if (excludeHistory && history.includes(id)) return 'is in the history';
    return undefined;
  }

  /** Each item is asked once: what an item has does not change while this runs. */
  #truthOf({ truth, nowMs }: SubjectSet): IsAllowed {
    if (truth.kind === 'list') {
      const { bits } = selectListed(truth, this.#snapshot.version);
      return (item) => isBitSet(bits, item);
    }
    const rule = compileRule(truth.rule, this.#snapshot.schema, truth.params);
    const known = new Map<number, boolean>();
    return (item) => {
      let isAllowed = known.get(item);
      if (isAllowed === undefined) {
        isAllowed = this.#isTrue(rule, item, nowMs);
        known.set(item, isAllowed);
      }
      return isAllowed;
    };
  }

  /** The minute may have ended since the filter was evaluated. */
  #passes(filter: string, params: RuleParams, item: number): boolean {
    const key = JSON.stringify([filter, params]);
    const rule = this.#filters.get(key) ?? compileRule(filter, this.#snapshot.schema, params);
    this.#filters.set(key, rule);
    const minute = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS;
    return this.#isTrue(rule, item, minute) || (rule.usesNow && this.#isTrue(rule, item, minute - MINUTE_MS));
  }

  #isTrue(rule: CompiledRule, item: number, nowMs: number): boolean {
    const readValue = (name: string): AttributeValue | undefined => this.#snapshot.valueOf(name, item);
    return ruleTruth(rule, this.#snapshot.schema, 1, readValue, nowMs)[0];
  }
}

function wrong({ requestId }: RecommendQuery, label: string, what: string): EspalierError {
  return new EspalierError(
    'ESP_INTERNAL',
    `wrong answer, so there are no times: under ${label} the answer to request ${requestId} ${what}`,
  );
}
