import { describe, expect, it } from 'vitest';
import { planSuites, secondsOf } from '../../bench/harness/plan.js';
import type { RunOptions, Size } from '../../bench/harness/types.js';
import { build } from '../../bench/suites/build.js';
import { compareWithFirst, measuredResult } from '../../bench/suites/memory/measured.js';
import { parseResident } from '../../bench/suites/memory/resident.js';
import { measureStructures } from '../../bench/suites/memory/structures.js';
import { memory } from '../../bench/suites/memory.js';
import { makeAttributes, predicates, schema, shareOfRanks } from '../../bench/suites/rules/columns.js';
import { allOf, faultOfBits, firstAndAnyOf, itemLoop } from '../../bench/suites/rules/rule.js';
import { rules } from '../../bench/suites/rules.js';
import { type Task, timeTasks } from '../../bench/suites/sets/tasks.js';
import { drawItems, faultOfItem, priceRule, unpackAndParse } from '../../bench/suites/upload/drawn-items.js';
import { upload } from '../../bench/suites/upload.js';
import { clearBit, countBits, setBit } from '../../src/kernels/index.js';
import { buildStaticTrie, compileRule, evaluateRule, trieByteLength } from '../../src/static-trie/index.js';

const runOptions = (size: Size, more: Partial<RunOptions> = {}): RunOptions => {
  return { size, seed: 1, large: false, axes: [], ...more };
};
const context = () => ({
  options: runOptions('small'),
  say: () => {},
  signal: new AbortController().signal,
});

describe('the plans of build, rules, upload and memory', () => {
  /** Seconds that each may take of a quick run's two minutes, and of a full one. */
  const budgets = [
    [build, 8, 300],
    [rules, 6, 60],
    [upload, 8, 90],
    [memory, 6, 60],
  ] as const;

  it.each(budgets.map(([suite, ...limits]) => [suite.name, suite, ...limits] as const))(
    '%s: every axis has cases, each says what it needs, and all keep to their time',
    (_name, suite, quickSeconds, fullSeconds) => {
      for (const [size, limit] of [
        ['small', 4],
        ['quick', quickSeconds],
        ['full', fullSeconds],
      ] as const) {
        const [{ cases }] = planSuites([suite], runOptions(size));
        expect(new Set(cases.map(({ axis }) => axis)), size).toEqual(new Set(suite.axes));
        expect(new Set(cases.map(({ axis, at }) => `${axis}=${at}`)).size, size).toBe(cases.length);
        for (const { needsBytes } of cases) expect(needsBytes).toBeGreaterThan(0);
        expect(secondsOf(cases), size).toBeLessThanOrEqual(limit + 0.5);
      }
    },
  );

  it('builds a hundred million rows only where it was told to, and says that they need gigabytes', () => {
    const sizes = (large: boolean) =>
      build.plan(runOptions('full', { large })).filter(({ axis }) => axis === 'constraints');
    expect(sizes(false).map(({ at }) => at)).toEqual([1e5, 1e6, 1e7, 2e7]);
    const largest = sizes(true).at(-1)!;
    expect(largest.at).toBe(1e8);
    expect(largest.needsBytes).toBeGreaterThan(5e9);
  });
});

describe('rules', () => {
  const attributes = makeAttributes(3001, 5);
  const evaluate = (cel: string) => evaluateRule(compileRule(cel, schema, {}), attributes.table, 0);

  it('say the same as CEL, as JavaScript, and over values, for every item', () => {
    const first = shareOfRanks(0.3);
    const all = [
      ...predicates.map((one) => allOf([one])),
      ...predicates.map((_, index) => allOf(predicates.slice(0, index + 1))),
      firstAndAnyOf(first, predicates.slice(0, 3)),
    ];
    for (const rule of all) {
      const bits = evaluate(rule.cel);
      expect(faultOfBits(rule, attributes, bits, 1), rule.cel).toBeUndefined();
      expect(itemLoop(rule, attributes)(), rule.cel).toEqual(bits);
    }
  });

  it('allow the share that was asked for', () => {
    for (const share of [1, 0.5, 0.1]) {
      const count = countBits(evaluate(shareOfRanks(share).cel), 0, 3001);
      expect(Math.abs(count / 3001 - share)).toBeLessThan(0.05);
    }
  });

  it('are refused where one bit is wrong, by the values and by those who came before', async () => {
    const rule = allOf(predicates);
    const bits = evaluate(rule.cel);
    for (const spoil of [setBit, clearBit]) {
      const item = Array.from({ length: 3001 }, (_, at) => at).find(
        (at) => rule.passes(attributes, at) !== (spoil === setBit),
      )!;
      const wrong = bits.slice();
      spoil(wrong, item);
      const what = spoil === setBit ? 'let in' : 'left out';
      expect(faultOfBits(rule, attributes, wrong, 1)).toBe(`item ${item} is ${what}`);
    }
    expect(faultOfBits(rule, attributes, bits.subarray(2))).toMatch(/\d+ words, expected \d+/);

    const other = bits.slice();
    // Not among the items that are looked at.
    other[0] ^= 2;
    const task = (name: string, found: Uint32Array): Task => ({
      name,
      kind: 'rival',
      run: () => found,
      resultOf: (made) => [made as Uint32Array],
      faultOf: (made) => faultOfBits(rule, attributes, made as Uint32Array),
    });
    const first = bits.slice();
    first[0] ^= 1;
    const results = await timeTasks(
      [task('right', bits), task('other', other), task('first', first)],
      'right',
      context(),
    );
    expect(results.map(({ status, reason }) => [status, reason])).toEqual([
      ['timed', undefined],
      ['failed', 'it comes to something else than right'],
      ['failed', expect.stringMatching(/^item 0 is /)],
    ]);
    const [floor] = await timeTasks([{ name: 'floor', kind: 'floor', run: () => {} }], 'right', context());
    expect(floor).toMatchObject({ status: 'timed' });
    expect(floor.resultHash).toBeUndefined();
  });
});

describe('uploads', () => {
  const drawn = drawItems(50, 3);

  it('are the same for the same seed, and what is known of them is what they say', () => {
    expect(drawItems(50, 3)).toEqual(drawn);
    expect(drawItems(50, 4).prices).not.toEqual(drawn.prices);
    expect(unpackAndParse(drawn.packed)).toBe(50);
    expect(drawn.sample.map(({ id }) => id)).toContain('item-3');
    const { rule, items } = priceRule(drawn, 101, [drawn.categories[0], drawn.categories[7]]);
    expect(rule).toBe(`price < 101.00 && category in ["${drawn.categories[0]}","${drawn.categories[7]}"]`);
    const allowed = drawn.categories.filter(
      (one) => one === drawn.categories[0] || one === drawn.categories[7],
    );
    expect(items).toBe(allowed.length);
    expect(priceRule(drawn, 0, drawn.categories).items).toBe(0);
  });

  it('are refused where an item comes back as another', () => {
    const [sent] = drawn.sample;
    const { id: _, sid, ...values } = sent;
    expect(faultOfItem(sent, { sid, attributes: values })).toBeUndefined();
    expect(faultOfItem(sent, { sid: [...sid.slice(1), 0], attributes: values })).toContain('came back as');
    expect(faultOfItem(sent, { sid, attributes: { ...values, price: values.price + 1 } })).toContain(
      'came back as',
    );
    const { price: __, ...fewer } = values;
    expect(faultOfItem(sent, { sid, attributes: fewer })).toContain('came back as');
  });
});

describe('memory', () => {
  it('tells pages of files from others', () => {
    const text = 'Rss:                1692 kB\nPss:  452 kB\nPss_Anon: 9 kB\nAnonymous:           112 kB\n';
    expect(parseResident(text)).toEqual({ all: 1692 * 1024, anonymous: 112 * 1024, files: 1580 * 1024 });
    expect(() => parseResident('Rss: 1 kB\n')).toThrow('smaps_rollup has no Anonymous');
  });

  it('has no bytes of what fails its check, and compares only what found the same', () => {
    const result = (name: string, value: number, verdict: object, isApproximate = false) =>
      measuredResult({ name, kind: 'rival', unit: 'bytes', values: [value], verdict, isApproximate });
    const results = [
      result('first', 10, { hash: 'a' }),
      result('same', 40, { hash: 'a' }),
      result('other', 40, { hash: 'b' }),
      result('approximate', 5, { hash: 'b' }, true),
      result('wrong', 1, { hash: 'a', fault: 'it has no rows' }),
    ];
    compareWithFirst(results);
    expect(results.map(({ ratioTo }) => ratioTo?.first.median)).toEqual([
      undefined,
      4,
      undefined,
      0.5,
      undefined,
    ]);
    expect(results[4]).toMatchObject({ status: 'failed', reason: 'it has no rows' });
    expect(results[4].spread).toBeUndefined();
  });

  it('counts structures that have decoded, and names those that are too large', async () => {
    const codes = Uint32Array.from({ length: 4 * 500 }, (_, at) => Math.imul(at, 2654435761) >>> 28);
    const { trie } = buildStaticTrie({ codebookSizes: [16, 16, 16, 16], rowCount: 500, codes });
    const results = await measureStructures(trie, 500, 1e9, context());
    expect(results[0]).toMatchObject({ kind: 'ours', status: 'timed', unit: 'bytes/item' });
    expect(results[0].spread!.p50).toBe(trieByteLength(trie) / 500);
    expect(results.filter(({ status }) => status === 'failed')).toEqual([]);
    const exact = results.filter(({ status, isApproximate }) => status === 'timed' && !isApproximate);
    expect(new Set(exact.map(({ resultHash }) => resultHash)).size).toBe(1);

    const few = await measureStructures(trie, 500, 1000, context());
    const nested = few.find(({ name }) => name === 'nested-map');
    expect(nested).toMatchObject({
      status: 'skipped',
      reason: expect.stringContaining('its structure takes'),
    });
  });
});
