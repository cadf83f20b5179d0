import { describe, expect, it } from 'vitest';
import { type AttributeSchema, buildColumn, type ColumnTable } from '../../../src/static-trie/index.js';
import { explainRule, type RuleParams } from '../../../src/static-trie/rules/index.js';

const schema: AttributeSchema = {
  price: { type: 'double' },
  brand: { type: 'string' },
  gift: { type: 'bool' },
  tags: { type: 'string[]' },
};
const table: ColumnTable = {
  itemCount: 2,
  columns: new Map([
    ['price', buildColumn('double', [2, undefined])],
    ['brand', buildColumn('string', ['acme', undefined])],
    ['gift', buildColumn('bool', [true, false])],
    ['tags', buildColumn('string[]', [['new'], undefined])],
  ]),
};
const explain = (rule: string, item = 0, params: RuleParams = {}) =>
  explainRule(rule, schema, params, table, item, 0);
const textsOf = (rule: string) => explain(rule).parts.map(({ text }) => text);

describe('why an item is in a set', () => {
  it('tells what each part says, and which attributes it misses', () => {
    const rule = 'price <= params.max && brand != "acme" && (has(item.tags) || gift)';
    expect(explain(rule, 0, { max: 5 })).toEqual({
      verdict: 'false',
      parts: [
        { text: 'price <= params.max', verdict: 'true', missing: [] },
        { text: 'brand != "acme"', verdict: 'false', missing: [] },
        { text: '(has(item.tags) || gift)', verdict: 'true', missing: [] },
      ],
    });
    expect(explain(rule, 1, { max: 5 })).toEqual({
      verdict: 'false',
      parts: [
        { text: 'price <= params.max', verdict: 'error', missing: ['price'] },
        { text: 'brand != "acme"', verdict: 'error', missing: ['brand'] },
        { text: '(has(item.tags) || gift)', verdict: 'false', missing: ['tags'] },
      ],
    });
  });

  it.each([
    ['gift', ['gift']],
    [' ( (gift && price > 1.0) ) ', ['gift', 'price > 1.0']],
    ['gift && price > 1.0 || brand == "x"', ['gift && price > 1.0', 'brand == "x"']],
    ['(gift || price > 1.0) && (brand == "x")', ['(gift || price > 1.0)', '(brand == "x")']],
    ['gift || price > 1.0 ? gift : gift && true', ['gift || price > 1.0 ? gift : gift && true']],
    ['(gift ? true : gift) && gift', ['(gift ? true : gift)', 'gift']],
    ['!(gift && gift)', ['!(gift && gift)']],
    ['brand == "a && b" || brand == r"\\" || gift', ['brand == "a && b"', 'brand == r"\\"', 'gift']],
    ["brand == 'it\\'s || ' || gift", ["brand == 'it\\'s || '", 'gift']],
    ['brand == """a" || ""b""" || gift', ['brand == """a" || ""b"""', 'gift']],
    ['tags.exists(t, t == "a" || t == "b") || gift', ['tags.exists(t, t == "a" || t == "b")', 'gift']],
    ['gift // || price\n || brand in ["a", "||"]', ['gift // || price', 'brand in ["a", "||"]']],
  ])('splits %s at its outermost operators', (rule, parts) => {
    expect(textsOf(rule)).toEqual(parts);
  });

  it('refuses what is no rule, as compiling does', () => {
    expect(() => explain('prcie > 1.0 && gift')).toThrow(/perhaps price/);
    expect(() => explain('gift && ')).toThrow(/expected/);
    expect(() => explain('gift', 0, { max: 1 })).toThrow(/params\.max/);
  });
});
