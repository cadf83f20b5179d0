import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readReport } from '../../bench/harness/results.js';
import { intervalOfSlope } from '../../bench/harness/statistics.js';
import type { Series } from '../../bench/harness/types.js';
import type { LoadRequest } from '../../bench/load/transport.js';
import { ErrorCounts } from '../../bench/suites/soak/error-counts.js';
import { faultOf } from '../../bench/suites/soak/fault.js';
import { metricOf } from '../../bench/suites/soak/sampler.js';
import { Shop } from '../../bench/suites/soak/shop.js';
import { Timeline } from '../../bench/suites/soak/timeline.js';
import { type Outcome, retold, trendOf, verdictOf } from '../../bench/suites/soak/verdict.js';
import { soak } from '../../bench/suites/soak.js';
import { readItems, readShoppers } from '../../examples/online-retail/retail.js';
import { Random } from '../helpers/random.js';

const [items, shoppers] = await Promise.all([readItems(), readShoppers()]);
const START_MS = 1_800_000_000_000;
const openShop = () => new Shop(items, shoppers, 1, START_MS);

describe('what may have been in force', () => {
  it('is old and new between the request of a change and its acknowledgement, and new after that', () => {
    const timeline = new Timeline('old');
    const done = timeline.change('new', 100);
    expect(timeline.between(0, 99)).toEqual(['old']);
    expect(timeline.between(150, 160).sort()).toEqual(['new', 'old']);
    done(200);
    expect(timeline.between(150, 160).sort()).toEqual(['new', 'old']);
    // A request that was sent before the acknowledgement and came after it.
    expect(timeline.between(199, 300).sort()).toEqual(['new', 'old']);
    expect(timeline.between(201, 300)).toEqual(['new']);
    expect(timeline.latest).toBe('new');
  });

  it('is either where a change was never acknowledged, until another one was', () => {
    const timeline = new Timeline(1);
    timeline.change(2, 100);
    expect(timeline.between(10_000, 10_001).sort()).toEqual([1, 2]);
    timeline.change(3, 20_000)(20_010);
    expect(timeline.between(20_011, 20_012)).toEqual([3]);
  });

  it('is known for long after many changes', () => {
    const timeline = new Timeline(0);
    for (let turn = 1; turn <= 1000; turn++) timeline.change(turn, turn * 1000)(turn * 1000 + 1);
    expect(timeline.between(950_500, 951_000)).toEqual([951, 950]);
    expect(timeline.between(1_000_002, 1_000_003)).toEqual([1000]);
  });
});

describe('an answer in a soak', () => {
  const ask = (constraint: LoadRequest['constraint'], more: Partial<LoadRequest> = {}): LoadRequest => ({
    catalog: 'retail',
    history: [],
    k: 1,
    beamWidth: 10,
    constraint,
    excludeHistory: false,
    timeoutMs: 1000,
    ...more,
  });
  const judge = (shop: Shop, request: LoadRequest, id: string, fromMs: number, toMs = fromMs + 5) =>
    shop.fault(
      request,
      { outcome: 'answer', items: [{ id }], isComplete: true, timings: {} as never },
      fromMs,
      toMs,
    );

  it('never has what was removed, once that was acknowledged, until an upload brings it back', () => {
    const shop = openShop();
    const { ids, done } = shop.remove(new Random(1), 3, START_MS + 10);
    const free = ask({});
    expect(judge(shop, free, ids[0], START_MS + 12)).toBeUndefined();
    done(START_MS + 20);
    expect(judge(shop, free, ids[0], START_MS + 19)).toBeUndefined();
    expect(judge(shop, free, ids[0], START_MS + 21)).toBe(`item ${ids[0]} was removed`);
    const lines = gunzipSync(shop.upload(new Random(4), START_MS + 30))
      .toString()
      .split('\n');
    const uploaded = new Set(lines.map((line) => (JSON.parse(line) as { id: string }).id));
    const isBack = ids.filter((id) => uploaded.has(id));
    expect(isBack.length).toBeGreaterThan(0);
    for (const id of ids) {
      const fault = judge(shop, free, id, START_MS + 40);
      expect(fault).toBe(uploaded.has(id) ? undefined : `item ${id} was removed`);
    }
    shop.remove(new Random(1), 3, START_MS + 50).done(START_MS + 60);
    expect(judge(shop, free, ids[0], START_MS + 61)).toBe(`item ${ids[0]} was removed`);
  });

  it('has only what the rule of its set allows, by the prices of the moment', () => {
    const shop = openShop();
    for (let turn = 0, nowMs = START_MS; turn < 5; turn++, nowMs += 100) {
      const { update, done } = shop.update(new Random(turn), 50, nowMs);
      done(nowMs + 10);
      for (const { id, price } of update) {
        for (const [constraint, isAllowed] of [
          [{ set: 'under-2-pounds' }, price < 2],
          [{ filter: 'price < 3.0' }, price < 3],
          [{ set: 'price-cap' }, price < 4],
        ] as const) {
          const fault = judge(shop, ask(constraint), id, nowMs + 20);
          if (isAllowed) expect(fault).toBeUndefined();
          else expect(fault).toBe(`item ${id} is not allowed by ${JSON.stringify(constraint)}`);
        }
      }
    }
  });

  it('has no offer that had ended before the oldest evaluation that the server may use', () => {
    const shop = openShop();
    const { update, done } = shop.update(new Random(5), 50, START_MS);
    done(START_MS + 1);
    const offers = update.filter(({ offerEnds }) => offerEnds !== null);
    expect(offers.length).toBeGreaterThan(10);
    for (const { id, offerEnds } of offers) {
      const endsMs = Date.parse(offerEnds!);
      const request = ask({ set: 'on-offer' });
      expect(judge(shop, request, id, Math.max(endsMs + 9_000, START_MS + 2))).toBeUndefined();
      expect(judge(shop, request, id, endsMs + 10_001)).toContain('is not allowed by');
    }
    const without = update.find(({ offerEnds }) => offerEnds === null)!;
    expect(judge(shop, ask({ set: 'on-offer' }), without.id, START_MS + 2)).toContain('is not allowed by');
  });

  it('is right under the cap of the moment, and has nothing of an excluded history, nothing twice, nothing else', () => {
    const shop = openShop();
    const { rule, done } = shop.changeCap(new Random(9), START_MS);
    done(START_MS + 1);
    const cap = rule.params.cap;
    for (const { id, price } of items.slice(0, 200)) {
      const fault = judge(shop, ask({ set: 'price-cap' }), id, START_MS + 2);
      expect(fault === undefined).toBe(price < cap);
    }
    const { id } = items[0];
    expect(judge(shop, ask({}, { history: [id], excludeHistory: true }), id, START_MS)).toContain(
      'in the history',
    );
    expect(judge(shop, ask({}), 'nothing', START_MS)).toBe('there is no item nothing');
    expect(judge(shop, ask({}, { k: 2 }), id, START_MS)).toBe('1 items, complete: true');
    const twice: Parameters<Shop['fault']>[1] = {
      outcome: 'answer',
      items: [{ id }, { id }],
      isComplete: true,
      timings: {} as never,
    };
    expect(shop.fault(ask({}, { k: 2 }), twice, START_MS, START_MS)).toBe('an item comes twice');
  });

  it('that fails within the echo of an interrupt is no error', () => {
    const errors = new ErrorCounts();
    errors.add('ESP_TIMEOUT', 1000);
    errors.add('ESP_SHUTTING_DOWN', 5000);
    errors.add('failure: socket hang up', 5100);
    expect(errors.total).toBe(3);
    errors.forgiveInterrupt(5200);
    expect([...errors.counts]).toEqual([['ESP_TIMEOUT', 1]]);
  });
});

describe('the verdict', () => {
  const seriesOf = (name: string, valueAt: (second: number) => number): Series => ({
    name,
    unit: 'bytes',
    points: Array.from({ length: 600 }, (_, index) => [index * 6, valueAt(index * 6)]),
  });
  const random = new Random(3);
  const noise = () => 3e6 * random.normal();
  const base: Outcome = {
    seconds: 3600,
    isPartial: false,
    answers: { http: 12_000, grpc: 11_000 },
    changes: new Map([['upload', 40]]),
    changeErrors: new Map(),
    errors: new Map(),
    violations: 0,
    told: [],
    foundByServer: 0,
    series: [seriesOf('anonymous memory', () => 200e6 + noise())],
  };

  it('is no result where answers are wrong, the server has failed, or no change of a kind goes through', () => {
    const errors = new ErrorCounts();
    const group = { answers: 5, violations: 0, told: [], errors };
    expect(faultOf(group, base)).toBeUndefined();
    const withErrors = (...codes: string[]) => ({
      ...base,
      changeErrors: new Map(codes.map((code) => [code, 2])),
    });
    expect(faultOf(group, withErrors('upload: ESP_OVERLOADED'))).toBeUndefined();
    expect(faultOf(group, withErrors('removal: ESP_TIMEOUT'))).toBe('2 times: removal: ESP_TIMEOUT');
    expect(faultOf(group, withErrors('upload: ESP_INTERNAL'))).toBe('2 times: upload: ESP_INTERNAL');
    expect(faultOf({ ...group, violations: 1, told: ['x'] as never[] }, base)).toContain('broke their rule');
    expect(faultOf(group, { ...base, ended: 'the server ended' })).toBe('the server ended');
    expect(faultOf(group, { ...base, foundByServer: 3 })).toContain('3 wrong items');
    expect(faultOf({ ...group, answers: 0 }, base)).toBe('there was no answer');
    errors.add('ESP_TIMEOUT', 0);
    expect(faultOf(group, base)).toBeUndefined();
    errors.add('ESP_INTERNAL', 0);
    expect(faultOf(group, base)).toBe('1 times: ESP_INTERNAL');
  });

  it('says flat of noise, growing of a leak, and is moved by neither a warm-up nor a few outliers', () => {
    const warming = (second: number) => 200e6 - 60e6 * Math.exp(-second / 120) + noise();
    const leaking = (second: number) => 200e6 + (second / 60) * 0.2e6 + noise();
    const jumping = (second: number) => 200e6 + noise() + (second > 3400 && second < 3460 ? 400e6 : 0);
    expect(trendOf(seriesOf('x', warming)).state).toBe('flat');
    expect(trendOf(seriesOf('x', jumping)).state).toBe('flat');
    const { state, perMinute } = trendOf(seriesOf('x', leaking));
    expect(state).toBe('growing');
    expect(perMinute!.low).toBeLessThan(0.2e6);
    expect(perMinute!.high).toBeGreaterThan(0.2e6);
    expect(
      trendOf({
        points: [
          [0, 1],
          [1, 2],
        ],
      }),
    ).toEqual({ state: 'uncertain', typical: 2 });
  });

  it('names answers, changes, errors, violations, and how memory went', () => {
    expect(verdictOf(base)).toMatch(
      /^In 60\.0 minutes: answers 12,000 over http, 11,000 over grpc; changes: upload 40\. No answer broke its rule\. There was no error\. Anonymous memory: flat at about 200\.\d\d MB, by -?0\.0\d MB a minute \(95 % between -0\.\d\d MB and 0\.\d\d MB\)\.$/,
    );
    const bad = verdictOf({
      ...base,
      isPartial: true,
      seconds: 80,
      errors: new Map([['ESP_TIMEOUT', 3]]),
      violations: 2,
      told: ['item 5 was removed'],
      foundByServer: 1,
      ended: 'the server ended with SIGKILL',
      series: [seriesOf('anonymous memory', (second) => 1e6 * second)],
    });
    const leaking = [seriesOf('anonymous memory', (second) => 1e6 * second)];
    expect(verdictOf({ ...base, series: leaking })).toContain('Anonymous memory: GROWING at about');
    for (const words of [
      'Interrupted after 80 seconds',
      'It ended before its time: the server ended with SIGKILL.',
      '2 ANSWERS BROKE THEIR RULE, the first: item 5 was removed.',
      'THE SERVER ITSELF FOUND 1 WRONG',
      'Errors: ESP_TIMEOUT 3.',
      'Anonymous memory: rising at about',
      'by 60.00 MB a minute (95 % between 60.00 MB and 60.00 MB)',
      'The run was short',
    ]) {
      expect(bad).toContain(words);
    }
  });

  it('calls flat only what can grow by little, and says by how much the rest may grow', () => {
    // Waves of 40 MB over five minutes: a slope of some MB a minute either way fits them.
    const wave = (second: number) => 200e6 + 20e6 * Math.sin(second / 17) + 3 * noise();
    const short = (valueAt: (second: number) => number): Series => {
      const { points, ...rest } = seriesOf('anonymous memory', valueAt);
      return { ...rest, points: points.filter(([second]) => second <= 300) };
    };
    const uncertain = short(wave);
    const { state, perMinute } = trendOf(uncertain);
    expect(perMinute!.low < 0 && perMinute!.high > 1e6).toBe(true);
    expect(state).toBe('uncertain');
    const told = verdictOf({ ...base, seconds: 300, series: [uncertain] });
    expect(told).toMatch(
      /Anonymous memory: too uncertain at about \d+\.\d\d MB to call it flat: up to (\d+\.\d\d MB) a minute \(95 % between -\d+\.\d\d MB and \1\)\./,
    );
    expect(told).not.toContain('flat at');
    expect(trendOf(short(() => 200e6)).state).toBe('flat');
    expect(trendOf(short((second) => 200e6 - second * 1e5)).state).toBe('falling');
  });

  it('never calls the last soak flat with a leak of 2 MB a minute added', () => {
    const { cases } = readReport(fileURLToPath(new URL('../../bench/results/soak.json', import.meta.url)));
    const memory = cases[0].series!.filter(({ unit }) => unit === 'bytes');
    expect(memory.map(({ name }) => name).sort()).toEqual(['anonymous memory', 'resident memory']);
    for (const { points } of memory) {
      const leaking = points.map(([second, bytes]): [number, number] => [
        second,
        bytes + second * (2e6 / 60),
      ]);
      expect(trendOf({ points: leaking }).state).not.toMatch(/flat|falling/);
    }
  });

  it('is retold from its series, whatever was made of them before', () => {
    const [series] = base.series;
    const now = verdictOf(base);
    const then = now.replace(
      /Anonymous memory: .*?\)\./,
      'Anonymous memory: GROWING by 9.00 MB (95 % between 1 and 2).',
    );
    expect(then).not.toBe(now);
    expect(retold(then, [series])).toBe(now);
    expect(retold(then, [])).toBe(then);
  });

  it('has slopes that fit the points', () => {
    const exact = [0, 1, 2, 5].map((at) => [at, 3 * at + 1] as const);
    expect(intervalOfSlope(exact)).toEqual({ median: 3, low: 3, high: 3 });
    expect(intervalOfSlope([...exact, [6, 1000] as const]).median).toBe(3);
  });

  it('reads what the server says of itself', () => {
    const text = '# HELP x\nx_total{kind="a"} 2\nx_total{kind="b"} 3\nx_total_more 9\ny{quantile="1"} 0.5\n';
    expect(metricOf(text, 'x_total')).toBe(5);
    expect(metricOf(text, 'y', 'quantile="1"')).toBe(0.5);
    expect(metricOf(text, 'z')).toBeUndefined();
  });
});

it('a soak is planned where it is asked for, and takes what it is told', () => {
  const options = { seed: 1, large: false, axes: [] };
  expect(soak.plan({ ...options, size: 'full' })).toEqual([]);
  expect(soak.plan({ ...options, size: 'quick' })).toEqual([]);
  expect(soak.plan({ ...options, size: 'small' }).map(({ seconds }) => seconds < 10)).toEqual([true]);
  const [planned] = soak.plan({ ...options, size: 'full', minutes: 7 });
  expect(planned).toMatchObject({ axis: 'minutes', at: 7, seconds: 425 });
});
