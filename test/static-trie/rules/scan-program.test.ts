import { describe, expect, it } from 'vitest';
import { isBitSet, OR, type ScanProgram, scan } from '../../../src/kernels/index.js';
import { type AttributeSchema, type AttributeValue, buildColumn } from '../../../src/static-trie/index.js';
import { compileRule, evaluateRule, type RuleParams } from '../../../src/static-trie/rules/index.js';

const schema: AttributeSchema = {
  price: { type: 'double' },
  stock: { type: 'int64' },
  brand: { type: 'string' },
  sold: { type: 'bool' },
  published: { type: 'timestamp' },
  tags: { type: 'string[]' },
};
const NOW_MS = 1_700_000_000_000;
const DAY_MS = 86_400_000;
const brands = ['X', 'Y', 'Xa', '💥', '\ufffd', '～'];
const columns = new Map(
  Object.entries({
    price: Array.from({ length: 60 }, (_, item) => 2.55 + (item % 3) / 10),
    stock: Array.from({ length: 60 }, (_, item) => (item % 7 ? 10 * (item % 7) - 20 : undefined)),
    brand: Array.from({ length: 60 }, (_, item) => brands[item % 6]),
    sold: Array.from({ length: 60 }, (_, item) => item % 2 === 0),
    published: Array.from({ length: 60 }, (_, item) => NOW_MS - item * DAY_MS),
    tags: Array.from({ length: 60 }, (_, item) => [`t${item % 3}`, `u${item % 5}`]),
  } satisfies Record<string, (AttributeValue | undefined)[]>).map(([name, values]) => [
    name,
    buildColumn(schema[name].type, values),
  ]),
);

/** The programs that a rule ran, and the items that it allows. */
function run(rule: string, params: RuleParams = {}) {
  const programs: ScanProgram[] = [];
  const bits = evaluateRule(
    compileRule(rule, schema, params),
    { itemCount: 60, columns },
    NOW_MS,
    (program) => {
      programs.push(program);
      return scan(program);
    },
  );
  const items = Array.from({ length: 60 }, (_, item) => item);
  return { programs, allowed: items.filter((item) => isBitSet(bits, item)) };
}

/** A rule over one column alone. */
function runOver(name: string, values: number[], rule: string, params: RuleParams = {}) {
  const table = {
    itemCount: values.length,
    columns: new Map([[name, buildColumn(schema[name].type, values)]]),
  };
  const kinds: string[] = [];
  const bits = evaluateRule(compileRule(rule, schema, params), table, NOW_MS, (program) => {
    kinds.push(...program.leaves.map(({ kind }) => kind));
    return scan(program);
  });
  return { kinds, allowed: values.map((_, item) => item).filter((item) => isBitSet(bits, item)) };
}

/** The kinds of the only program's leaves. */
function leaves(rule: string, params: RuleParams = {}): string {
  const { programs } = run(rule, params);
  expect(programs.length, rule).toBe(1);
  return programs[0].leaves.map(({ kind }) => kind).join(' ');
}

describe('what a rule becomes', () => {
  it.each([
    ['price <= 2.6 && stock > 0 && published > now - duration("168h")', 'range range range'],
    ['2.6 >= price', 'range'],
    ['brand == "X" || brand.startsWith("X")', 'range range'],
    ['brand != "X"', 'range'],
    ['brand in ["Xa", "X"]', 'range'],
    ['brand in ["X", "💥"]', 'range range'],
    ['brand.contains("a") && brand < "Y"', 'flags flags'],
    ['stock in [10, 20]', 'range'],
    ['"t1" in tags && !("u1" in tags)', 'anyFlag anyFlag'],
    ['tags.exists(t, t.startsWith("u")) || tags.all(t, t == "x")', 'range range anyFlag anyFlag'],
    ['sold && !sold', 'bits bits'],
    ['has(item.stock)', 'bits'],
    ['price * 2.0 < 6.0 && sold', 'bits bits'],
    ['sold ? price < 2.6 : stock < 5', 'bits range bits range'],
  ])('%s: %s', (rule, expected) => {
    const { programs } = run(rule);
    expect(programs.flatMap((program) => program.leaves.map(({ kind }) => kind)).join(' ')).toBe(expected);
  });

  it('makes ranges of codes, not of values', () => {
    const [{ leaves: found }] = run('stock >= 5 && price == 2.55 && stock < 5.5').programs;
    // −10 … 40 in steps of 10: 10 is code 2, 0 code 1.
    expect(found).toMatchObject([
      { low: 2, high: 255 },
      { low: 0, high: 0 },
      { low: 0, high: 1 },
    ]);
  });

  it.each([
    'true',
    '1 < 2 || sold',
    'price > 2.0',
    'price < 3',
    'brand.startsWith("")',
    'has(item.price)',
    'price != 0.0 / 0.0',
    'stock >= 0 || stock < 0 || true',
    'price != 2.6',
  ])('scans nothing where all items pass: %s', (rule) => {
    expect(run(rule)).toMatchObject({ programs: [], allowed: { length: 60 } });
  });

  it.each([
    'false',
    'price < 2',
    'price == 2.6',
    'brand == "Z"',
    '"v" in tags',
    'brand in []',
    'price >= 0.0 / 0.0',
    'timestamp("9999-12-31T23:59:59Z") + duration("1h") > published',
  ])('scans nothing where no item passes: %s', (rule) => {
    expect(run(rule)).toMatchObject({ programs: [], allowed: { length: 0 } });
  });

  it('makes ranges of a short list and flags of a long one', () => {
    const even = Array.from({ length: 40 }, (_, index) => index * 2.1);
    expect(leaves('price in params.x', { x: [...even, 2.55] })).toBe('range');
    expect(leaves('brand in params.x', { x: ['💥', 'a', 'X', 'b', '～'] })).toBe('range range range');
    const stocks = Array.from({ length: 300 }, (_, item) => item);
    const wanted = stocks.filter((stock) => stock % 4 === 3);
    const { kinds, allowed } = runOver('stock', stocks, 'stock in params.x', { x: wanted });
    expect(kinds).toEqual(['flags']);
    expect(allowed).toEqual(wanted);
  });

  it('makes no range of doubles that follow each other as integers do', () => {
    const { kinds, allowed } = runOver('price', [0, 0.5, 1, -0], 'price in [0, 1.0]');
    expect(kinds).toEqual(['range', 'range']);
    expect(allowed).toEqual([0, 2, 3]);
  });

  it('compares a double with an int as doubles, but tells them apart', () => {
    // 2^53 + 1, which no double is.
    const values = [2 ** 53, 2 ** 53 + 2, 0.5];
    expect(runOver('price', values, 'price < 9007199254740993').allowed).toEqual([2]);
    expect(runOver('price', values, 'price <= 9007199254740993').allowed).toEqual([0, 2]);
    expect(runOver('price', values, 'price != 9007199254740993').allowed).toEqual([0, 1, 2]);
    expect(runOver('stock', [2 ** 53 - 1, 0], 'stock < 9007199254740993').allowed).toEqual([0, 1]);
  });

  it('stays small where == and ?: nest', () => {
    for (const [open, close] of [
      ['(', ' == (stock > 3 || price < 2.6))'],
      ['(', ' ? stock > 3 || sold : price < 2.6)'],
      ['!(', ' != sold)'],
    ]) {
      const { programs } = run(`${open.repeat(30)}sold${close.repeat(30)}`);
      for (const { postfix, leaves: found } of programs) {
        expect(postfix.length).toBeLessThan(300);
        expect(found.length).toBeLessThan(150);
      }
    }
  });

  it('needs few bitmaps at a time, however a chain is written', () => {
    const right = `${'(stock > 3 || '.repeat(50)}sold${')'.repeat(50)}`;
    const [{ postfix }] = run(right).programs;
    let depth = 0;
    let deepest = 0;
    for (const entry of postfix) {
      depth += entry >= 0 ? 1 : -1;
      deepest = Math.max(deepest, depth);
    }
    expect(postfix.filter((entry) => entry === OR).length).toBe(50);
    expect(deepest).toBe(2);
  });
});

describe('half a surrogate pair in a parameter', () => {
  const half = { s: '💥'.slice(0, 1) };
  it('equals nothing, and begins what it begins', () => {
    expect(run('brand == params.s', half).allowed).toEqual([]);
    expect(run('brand in [params.s]', half).allowed).toEqual([]);
    expect(run('brand.startsWith(params.s)', half).allowed).toEqual(run('brand == "💥"').allowed);
    expect(run('brand.startsWith(params.s)', half).allowed.length).toBe(10);
  });
});
