import { activeVersionOf, type SetRecord } from '../../../src/server/constraint-sets/set-record.js';
import type { RuleParams } from '../../../src/static-trie/index.js';
import type { Random } from '../random.js';
import type { Model, PlainItem } from './model.js';

export const COLOURS = ['red', 'blue', 'green'];
export const PRICES = [1, 2, 3, 4, 5];

/** Rules, and what they say of an item; a missing value is allowed by none. */
const rules: Record<string, (item: PlainItem, params: RuleParams) => boolean> = {
  'price < params.limit': ({ price }, { limit }) => price != null && price < (limit as number),
  'colour == params.colour': ({ colour }, params) => colour != null && colour === params.colour,
  'price >= params.limit || colour == params.colour': ({ price, colour }, params) =>
    (price != null && price >= (params.limit as number)) || (colour != null && colour === params.colour),
};

export function randomRule(random: Random): { rule: string; params: RuleParams } {
  const rule = random.pick(Object.keys(rules));
  const limit = rule.includes('limit') && { limit: random.pick(PRICES) };
  const colour = rule.includes('params.colour') && { colour: random.pick(COLOURS) };
  return { rule, params: { ...(colour || {}), ...(limit || {}) } };
}

export function isAllowed({ lists }: Model, set: SetRecord, item: PlainItem): boolean {
  const { truth, version } = activeVersionOf(set)!;
  if (truth.kind === 'rule') return rules[truth.rule](item, truth.params);
  return lists.get(`${set.name}.${version}`)!.includes(truth.kind === 'items' ? item.id : String(item.sid));
}
