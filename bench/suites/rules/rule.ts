import { isBitSet, wordsFor } from '../../../src/kernels/index.js';
import { valueAt } from '../../../src/static-trie/index.js';
import type { Attributes, Predicate } from './columns.js';

/** A boolean expression of predicates, as a rule, as JavaScript, and over one item's values. */
export interface BenchRule {
  cel: string;
  js: string;
  attributes: string[];
  passes(attributes: Attributes, item: number): boolean;
}

export function allOf(predicates: readonly Predicate[]): BenchRule {
  return {
    cel: predicates.map(({ cel }) => cel).join(' && '),
    js: predicates.map(({ js }) => `(${js})`).join(' && '),
    attributes: predicates.map(({ attribute }) => attribute),
    passes: (attributes, item) => predicates.every((one) => holds(one, attributes, item)),
  };
}

/** The first, and one of the others. */
export function firstAndAnyOf(first: Predicate, others: readonly Predicate[]): BenchRule {
  return {
    cel: `${first.cel} && (${others.map(({ cel }) => cel).join(' || ')})`,
    js: `(${first.js}) && (${others.map(({ js }) => `(${js})`).join(' || ')})`,
    attributes: [first, ...others].map(({ attribute }) => attribute),
    passes: (attributes, item) =>
      holds(first, attributes, item) && others.some((one) => holds(one, attributes, item)),
  };
}

function holds({ attribute, passes }: Predicate, { table }: Attributes, item: number): boolean {
  return passes(valueAt(table.columns.get(attribute)!, item));
}

/** A prime, so that all places within a word are looked at. */
const CHECK_EVERY = 997;

/** What is wrong with a rule's bits, by the values of some items. */
export function faultOfBits(
  rule: BenchRule,
  attributes: Attributes,
  bits: Uint32Array,
  every = CHECK_EVERY,
): string | undefined {
  const expected = wordsFor(attributes.table.itemCount);
  if (bits.length !== expected) return `${bits.length} words, expected ${expected}`;
  return faultOfItems(rule, attributes, (item) => isBitSet(bits, item), every);
}

/** @param isAllowed what an evaluation says of an item  @param every how many items lie between those looked at */
export function faultOfItems(
  rule: BenchRule,
  attributes: Attributes,
  isAllowed: (item: number) => boolean,
  every = CHECK_EVERY,
): string | undefined {
  for (let item = 0; item < attributes.table.itemCount; item += every) {
    const expected = rule.passes(attributes, item);
    if (isAllowed(item) !== expected) return `item ${item} is ${expected ? 'left out' : 'let in'}`;
  }
  return undefined;
}

/**
 * One loop over the items with the rule as JavaScript: what whoever has the columns writes without rules. It reads the
 * same codes as ours; the loop is made for this rule, so that the compiler sees all of it.
 */
export function itemLoop(rule: BenchRule, { table, arrays }: Attributes): () => Uint32Array {
  const names = Object.keys(arrays);
  const body = `for (let item = 0; item < itemCount; item++) if (${rule.js}) bits[item >>> 5] |= 1 << (item & 31);`;
  const loop = new Function('itemCount', 'bits', ...names, body);
  const { itemCount } = table;
  return () => {
    const bits = new Uint32Array(wordsFor(itemCount));
    loop(itemCount, bits, ...names.map((name) => arrays[name]));
    return bits;
  };
}
