import { describe, expect, it } from 'vitest';
import { type ErrorDetail, EspalierError } from '../../../src/errors.js';
import { type AttributeSchema, type AttributeValue, buildColumn } from '../../../src/static-trie/index.js';
import {
  compileRule,
  evaluateRule,
  isAttributeName,
  MAX_LIST_LENGTH,
  MAX_RULE_LENGTH,
  type RuleParams,
} from '../../../src/static-trie/rules/index.js';

const schema: AttributeSchema = {
  price: { type: 'double' },
  stock: { type: 'int64' },
  brand: { type: 'string' },
  sold: { type: 'bool' },
  published: { type: 'timestamp' },
  countries: { type: 'string[]' },
  size: { type: 'string' },
};
const NOW_MS = Date.UTC(2024, 4, 31, 18);

type Item = { [name: string]: AttributeValue };

/** For each item: '1' where the rule allows it, else '0'. */
function allowed(rule: string, items: Item[], params: RuleParams = {}): string {
  const columns = new Map(
    Object.entries(schema).map(([name, { type }]) => [
      name,
      buildColumn(
        type,
        items.map((item) => item[name]),
      ),
    ]),
  );
  const bits = evaluateRule(compileRule(rule, schema, params), { itemCount: items.length, columns }, NOW_MS);
  return items.map((_, index) => (bits[index >>> 5] >>> (index & 31)) & 1).join('');
}

/** The verdict on one item. */
function verdict(rule: string, item: Item = {}, params: RuleParams = {}): boolean | 'error' {
  if (allowed(rule, [item], params) === '1') return true;
  return allowed(`!(${rule})`, [item], params) === '1' ? false : 'error';
}

function faultOf(
  rule: string,
  params: RuleParams = {},
): Partial<ErrorDetail> & { code: string; message: string } {
  try {
    compileRule(rule, schema, params);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(EspalierError);
    const { code, details, message } = thrown as EspalierError;
    return { code, message, ...details?.[0] };
  }
  return { code: 'none', message: '' };
}

describe('three-valued logic', () => {
  const T = 'true';
  const F = 'false';
  const E = 'sold'; // Missing: an error.
  it.each([
    [T, T, true, true],
    [T, F, false, true],
    [F, T, false, true],
    [F, F, false, false],
    [T, E, 'error', true],
    [E, T, 'error', true],
    [F, E, false, 'error'],
    [E, F, false, 'error'],
    [E, E, 'error', 'error'],
  ] as const)('%s with %s: && gives %s, || gives %s', (left, right, and, or) => {
    expect(verdict(`${left} && ${right}`)).toBe(and);
    expect(verdict(`${left} || ${right}`)).toBe(or);
  });

  it('keeps errors through !, == and the condition of ?:', () => {
    expect(verdict('!sold')).toBe('error');
    expect(verdict('sold == sold')).toBe('error');
    expect(verdict('sold ? true : true')).toBe('error');
    expect(verdict('true ? true : sold')).toBe(true);
    expect(verdict('false ? true : sold')).toBe('error');
  });

  it('allows no item of unknown brand, neither by == nor by its opposite', () => {
    const items = [{ brand: 'X' }, { brand: 'Y' }, {}];
    expect(allowed('brand == "X"', items)).toBe('100');
    expect(allowed('!(brand == "X")', items)).toBe('010');
    expect(allowed('brand != "X"', items)).toBe('010');
    expect(allowed('!has(item.brand) || brand == "X"', items)).toBe('101');
    expect(allowed('has(item.brand)', items)).toBe('110');
  });
});

describe('values', () => {
  it('reads attributes as bare names and as fields of item', () => {
    const items = [{ price: 2.5 }, { price: 7 }, {}];
    expect(allowed('price <= 5.0', items)).toBe('100');
    expect(allowed('item.price <= 5.0', items)).toBe('100');
    expect(allowed('item . price <= 5', items)).toBe('100');
  });

  it('compares ints and doubles across types', () => {
    expect(verdict('stock == 3.0', { stock: 3 })).toBe(true);
    expect(verdict('stock < 3.5', { stock: 3 })).toBe(true);
    expect(verdict('price >= 3', { price: 3 })).toBe(true);
    expect(verdict('stock in [3.0, 4]', { stock: 3 })).toBe(true);
    expect(verdict('9007199254740993 == 9007199254740992.0')).toBe(false);
  });

  it('treats −0 as 0 and NaN as equal to nothing', () => {
    expect(verdict('price == 0.0', { price: -0 })).toBe(true);
    expect(verdict('price in [0.0]', { price: -0 })).toBe(true);
    expect(verdict('price < 0.0', { price: -0 })).toBe(false);
    const nan = '(price / price)';
    expect(verdict(`${nan} == ${nan}`, { price: 0 })).toBe(false);
    expect(verdict(`${nan} != ${nan}`, { price: 0 })).toBe(true);
    expect(verdict(`${nan} in [${'0.0 / 0.0'}]`, { price: 0 })).toBe(false);
    expect(verdict(`${nan} >= 0.0`, { price: 0 })).toBe(false);
    expect(verdict(`${nan} < 0.0`, { price: 0 })).toBe(false);
  });

  it('computes 64-bit integers exactly; overflow and division by zero are errors', () => {
    const item = { stock: 2 ** 53 - 1 };
    expect(verdict('stock * 1024 == 9223372036854774784', item)).toBe(true);
    expect(verdict('stock * 1024 + 1023 == 9223372036854775807', item)).toBe(true);
    expect(verdict('stock * 1025 > 0', item)).toBe('error');
    expect(verdict('stock + 2 == 9007199254740993', item)).toBe(true);
    expect(verdict('stock / 0 == 1', item)).toBe('error');
    expect(verdict('stock % 0 == 1', item)).toBe('error');
    expect(verdict('-7 / 2 == -3 && -7 % 2 == -1')).toBe(true);
    expect(verdict('-stock / 2 == -3', { stock: 7 })).toBe(true);
    expect(verdict('-(-9223372036854775807 - 1) > 0')).toBe('error');
    expect(allowed('stock / stock == 1', [{ stock: 2 }, { stock: 0 }, {}])).toBe('100');
    expect(verdict('price / 0.0 > 1e308', { price: 1 })).toBe(true);
  });

  it('converts numbers', () => {
    expect(verdict('int(price) == -2', { price: -2.9 })).toBe(true);
    expect(verdict('int(price) == 0', { price: 1e19 })).toBe('error');
    expect(verdict('int(price) > 0', { price: 9e18 })).toBe(true);
    expect(verdict('double(stock) / 2.0 == 1.5', { stock: 3 })).toBe(true);
    expect(verdict('int(published) == -1', { published: -1 })).toBe(true);
  });

  it('reads strings: order, parts, size in code points, one constant joined', () => {
    expect(
      verdict('brand.contains("b") && brand.startsWith("a") && brand.endsWith("c")', { brand: 'abc' }),
    ).toBe(true);
    expect(verdict('size(brand) == 2 && brand.size() == 2', { brand: 'a💥' })).toBe(true);
    expect(verdict('brand < "b"', { brand: 'a' })).toBe(true);
    expect(verdict('brand > "b"', { brand: 'a' })).toBe(false);
    expect(verdict('"b" > brand', { brand: 'a' })).toBe(true);
    expect(verdict('"abc".contains(brand) && !brand.contains("abc")', { brand: 'b' })).toBe(true);
    expect(verdict('brand + "!" == "a!"', { brand: 'a' })).toBe(true);
    expect(verdict('brand == size', { brand: 'L', size: 'L' })).toBe(true);
    expect(verdict('brand.startsWith(size)', { brand: 'Lx', size: 'L' })).toBe(true);
    expect(verdict('size(size) == 1 && size == "L"', { size: 'L' })).toBe(true);
  });

  it('reads lists: in, size, macros', () => {
    const items = [{ countries: ['US', 'FR'] }, { countries: ['DE'] }, { countries: [] }, {}];
    expect(allowed('"FR" in countries', items)).toBe('1000');
    expect(allowed('!("FR" in countries)', items)).toBe('0110');
    expect(allowed('size(countries) == 0', items)).toBe('0010');
    expect(allowed('countries.exists(c, c.startsWith("U"))', items)).toBe('1000');
    expect(allowed('countries.all(c, c.startsWith("U"))', items)).toBe('0010');
    expect(allowed('countries.exists_one(c, size(c) == 2)', items)).toBe('0100');
    expect(allowed('brand in countries', [{ brand: 'FR', countries: ['US', 'FR'] }, { brand: 'FR' }])).toBe(
      '10',
    );
    expect(verdict('brand in []', { brand: 'X' })).toBe(false);
  });

  it('folds errors in macros as CEL does', () => {
    const item = { countries: ['a', 'bb'] };
    expect(verdict('countries.exists(c, 1 / (size(c) - 1) == 1)', item)).toBe(true);
    expect(verdict('countries.exists(c, 1 / (size(c) - 1) == 2)', item)).toBe('error');
    expect(verdict('countries.all(c, 1 / (size(c) - 1) == 2)', item)).toBe(false);
    expect(verdict('countries.all(c, 1 / (size(c) - 1) == 1)', item)).toBe('error');
    expect(verdict('countries.exists_one(c, 1 / (size(c) - 1) == 1)', item)).toBe('error');
  });

  it('reads times, with now bound at evaluation', () => {
    const items = [{ published: NOW_MS - 1 }, { published: NOW_MS - 8 * 86_400_000 }, {}];
    expect(allowed('published > now - duration("168h")', items)).toBe('100');
    expect(allowed('now - published > duration("168h")', items)).toBe('010');
    const eve = { published: Date.UTC(2023, 11, 31, 23, 59, 58, 7) };
    expect(verdict('published.getFullYear() == 2023 && published.getMonth() == 11', eve)).toBe(true);
    expect(verdict('published.getDate() == 31 && published.getDayOfMonth() == 30', eve)).toBe(true);
    expect(verdict('published.getDayOfYear() == 364 && published.getDayOfWeek() == 0', eve)).toBe(true);
    expect(verdict('published.getHours() == 23 && published.getMilliseconds() == 7', eve)).toBe(true);
    expect(verdict('published == timestamp("2024-01-01T01:59:58.007000+02:00")', eve)).toBe(true);
    expect(verdict('timestamp("9999-12-31T23:59:59Z") + duration("1h") > now')).toBe('error');
    expect(
      verdict('timestamp("9999-12-31T00:00:00Z") - timestamp("0001-01-01T00:00:00Z") > duration("1h")'),
    ).toBe('error');
    expect(verdict('(now - published).getHours() == 24', { published: NOW_MS - 86_400_000 - 5 })).toBe(true);
  });

  it('reads parameters, typed by their values', () => {
    const item = { price: 3, brand: 'X', stock: 3 };
    expect(verdict('price <= params.max && brand in params.brands', item, { max: 5, brands: ['X'] })).toBe(
      true,
    );
    expect(verdict('stock in params.n', item, { n: [3] })).toBe(true);
    expect(verdict('brand in params.none', item, { none: [] })).toBe(false);
    expect(verdict('has(params.max) && !has(params.min)', item, { max: 5 })).toBe(true);
    expect(verdict('now > timestamp(params.since)', item, { since: '2024-01-01T00:00:00Z' })).toBe(true);
    expect(verdict('params.on', item, { on: true })).toBe(true);
  });

  it('leaves the bits beyond the items clear, and works on no items', () => {
    for (const rule of [
      'true',
      '!false',
      'sold || true',
      '!has(item.brand)',
      'price != 1.0 || !has(item.price)',
    ]) {
      for (const itemCount of [0, 1, 31, 32, 33, 65]) {
        const columns = new Map(
          Object.entries(schema).map(([name, { type }]) => [
            name,
            buildColumn(type, new Array<undefined>(itemCount).fill(undefined)),
          ]),
        );
        const bits = evaluateRule(compileRule(rule, schema, {}), { itemCount, columns }, NOW_MS);
        const total = Array.from(bits, (word) => word.toString(2).replaceAll('0', '').length);
        expect(total.reduce((sum, count) => sum + count, 0)).toBe(itemCount);
        expect(bits.length).toBe(Math.ceil(itemCount / 64) * 2);
      }
    }
  });

  it('tells what a rule reads', () => {
    const rule = compileRule(
      'price < 1.0 && item.brand == "X" && price > 0.0 && published < now',
      schema,
      {},
    );
    expect(rule.attributes).toEqual(['price', 'brand', 'published']);
    expect(rule.usesNow).toBe(true);
    expect(compileRule('has(item.brand)', schema, {})).toMatchObject({
      attributes: ['brand'],
      usesNow: false,
    });
  });
});

describe('refusals', () => {
  it.each([
    ['price >', 'ESP_RULE_SYNTAX', 6],
    ['price = 1.0', 'ESP_RULE_SYNTAX', 6],
    ['brand == "X', 'ESP_RULE_SYNTAX', 6],
    ['', 'ESP_RULE_SYNTAX', 0],
    ['in == 1', 'ESP_RULE_SYNTAX', 0],
    ['stock > 99999999999999999999', 'ESP_RULE_SYNTAX', 8],
    ['true && prcie < 1.0', 'ESP_RULE_NAME', 8],
    ['"💥" == brnad', 'ESP_RULE_NAME', 8],
    ['item.prcie < 1.0', 'ESP_RULE_NAME', 5],
    ['has(item.prcie)', 'ESP_RULE_NAME', 9],
    ['price < params.max', 'ESP_RULE_NAME', 15],
    ['constructor == 1', 'ESP_RULE_NAME', 0],
    ['params.constructor == 1', 'ESP_RULE_NAME', 7],
    ['price', 'ESP_RULE_TYPE', 0],
    ['price == "x"', 'ESP_RULE_TYPE', 6],
    ['brand < 3', 'ESP_RULE_TYPE', 6],
    ['stock + 1.5 > 2.0', 'ESP_RULE_TYPE', 6],
    ['price % 2.0 == 0.0', 'ESP_RULE_TYPE', 6],
    ['true && price', 'ESP_RULE_TYPE', 8],
    ['!price', 'ESP_RULE_TYPE', 1],
    ['-brand == "x"', 'ESP_RULE_TYPE', 1],
    ['sold ? price > 1.0 : brand', 'ESP_RULE_TYPE', 21],
    ['price in ["a"]', 'ESP_RULE_TYPE', 6],
    ['brand in ["a", 1]', 'ESP_RULE_TYPE', 15],
    ['brand in brand', 'ESP_RULE_TYPE', 9],
    ['countries == "FR"', 'ESP_RULE_TYPE', 10],
    ['price.contains("x")', 'ESP_RULE_TYPE', 0],
    ['brand.contains(1)', 'ESP_RULE_TYPE', 15],
    ['size(price) == 1', 'ESP_RULE_TYPE', 5],
    ['published > timestamp("2024-01-01")', 'ESP_RULE_TYPE', 22],
    ['published > timestamp("2024-02-30T00:00:00Z")', 'ESP_RULE_TYPE', 22],
    ['now - published > duration("7d")', 'ESP_RULE_TYPE', 27],
    ['published > now - 5', 'ESP_RULE_TYPE', 16],
    ['item == 1', 'ESP_RULE_TYPE', 0],
    ['has(price)', 'ESP_RULE_TYPE', 0],
    ['stock == 1u', 'ESP_RULE_UNSUPPORTED', 9],
    ['brand == null', 'ESP_RULE_UNSUPPORTED', 9],
    ['brand == b"x"', 'ESP_RULE_UNSUPPORTED', 9],
    ['brand in {"a": 1}', 'ESP_RULE_UNSUPPORTED', 9],
    ['countries[0] == "FR"', 'ESP_RULE_UNSUPPORTED', 9],
    ['brand.matches("a.*")', 'ESP_RULE_UNSUPPORTED', 0],
    ['string(stock) == "1"', 'ESP_RULE_UNSUPPORTED', 0],
    ['countries.map(c, c) == []', 'ESP_RULE_UNSUPPORTED', 9],
    ['countries == countries', 'ESP_RULE_UNSUPPORTED', 10],
    ['countries.exists(c, c == brand)', 'ESP_RULE_UNSUPPORTED', 25],
    ['["a"].exists(c, c == "a")', 'ESP_RULE_UNSUPPORTED', 0],
    ['brand in [size]', 'ESP_RULE_UNSUPPORTED', 10],
    ['brand + size == "x"', 'ESP_RULE_UNSUPPORTED', 6],
    ['sold < true', 'ESP_RULE_UNSUPPORTED', 5],
    ['published.getHours("Europe/Paris") == 1', 'ESP_RULE_UNSUPPORTED', 0],
    ['published > timestamp("2024-01-01T00:00:00.0001Z")', 'ESP_RULE_UNSUPPORTED', 22],
    ['now - published > duration("1ns")', 'ESP_RULE_UNSUPPORTED', 27],
    ['timestamp(stock) > now', 'ESP_RULE_UNSUPPORTED', 10],
    ['brand.length > 1', 'ESP_RULE_UNSUPPORTED', 0],
  ])('%s: %s at %i', (rule, code, position) => {
    expect(faultOf(rule)).toMatchObject({
      code,
      position,
      expected: expect.any(String),
      found: expect.any(String),
    });
  });

  it('names what may have been meant', () => {
    expect(faultOf('prcie < 1.0').message).toBe(
      'position 0: expected an attribute of the catalog, perhaps price, found prcie',
    );
    expect(faultOf('price < params.mx', { max: 1 }).expected).toBe('a parameter of this rule, perhaps max');
    expect(faultOf('price < params.max').expected).toBe('a parameter of this rule (there are none)');
    expect(faultOf('zzzzzz == 1').expected).toContain('price, stock, brand');
  });

  it('refuses parameters that are no rule values', () => {
    const odd = (value: unknown) => ({ x: value }) as RuleParams;
    for (const value of [null, {}, [1, 'a'], [[1]], [true]]) {
      expect(faultOf('price in params.x', odd(value))).toMatchObject({ code: 'ESP_RULE_TYPE', position: 9 });
    }
  });

  it('refuses long, deep and large rules before they can harm the parser', () => {
    const deep = (open: string, inner: string, close: string, times: number) =>
      faultOf(open.repeat(times) + inner + close.repeat(times)).code;
    expect(faultOf(`true${' '.repeat(MAX_RULE_LENGTH)}`)).toMatchObject({ code: 'ESP_RULE_TOO_LARGE' });
    expect(faultOf(`true${' '.repeat(MAX_RULE_LENGTH - 4)}`).code).toBe('none');
    expect(deep('(', 'true', ')', 64)).toBe('none');
    expect(deep('(', 'true', ')', 65)).toBe('ESP_RULE_TOO_LARGE');
    expect(deep('(', 'true', ')', 4000)).toBe('ESP_RULE_TOO_LARGE');
    expect(deep('[', '1', ']', 4000)).toBe('ESP_RULE_TOO_LARGE');
    expect(deep('sold?', 'true', ':true', 800)).toBe('ESP_RULE_TOO_LARGE');
    expect(deep('!', 'sold', '', 8000)).toBe('ESP_RULE_TOO_LARGE');
    expect(deep('- ', 'stock', '', 4000)).toBe('ESP_RULE_TOO_LARGE');
    expect(faultOf(`stock${' + 1'.repeat(2000)} > 0`).code).toBe('ESP_RULE_TOO_LARGE');
    expect(faultOf(`stock${' + 1'.repeat(62)} > 0`).code).toBe('none');
    expect(faultOf(`stock${' + 1'.repeat(63)} > 0`).code).toBe('ESP_RULE_TOO_LARGE');
    expect(faultOf(`item${'.a'.repeat(4000)}`).code).toBe('ESP_RULE_TOO_LARGE');
    expect(faultOf(`brand == "${'('.repeat(500)}" // ${'['.repeat(500)}\n`).code).toBe('none');
    expect(faultOf(`brand == "" ${'|| brand == "x" '.repeat(400)}`).code).toBe('none');
    const numbers = Array.from({ length: MAX_LIST_LENGTH + 1 }, (_, index) => index);
    expect(faultOf('price in params.x', { x: numbers })).toMatchObject({
      code: 'ESP_RULE_TOO_LARGE',
      position: 9,
    });
    expect(faultOf('price in params.x', { x: numbers.slice(1) }).code).toBe('none');
  });
});

it('knows which names a rule can read', () => {
  for (const name of ['price', '_x', 'A1', 'size', 'type', 'contains', 'duration']) {
    expect(isAttributeName(name), name).toBe(true);
  }
  for (const name of [
    '',
    '1a',
    'a-b',
    'é',
    'item',
    'params',
    'now',
    'in',
    'has',
    'true',
    'null',
    'while',
    '__proto__',
  ]) {
    expect(isAttributeName(name), name).toBe(false);
  }
});
