import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { intervalOfMedian, LEAST_SAMPLES, pairedRatio } from '../../bench/harness/statistics.js';
import type { CaseResult, RivalResult, SuiteReport } from '../../bench/harness/types.js';
import { compareReports } from '../../bench/report/compare.js';
import type { Results } from '../../bench/report/input.js';
import { leadOf } from '../../bench/report/leads.js';
import { summarize } from '../../bench/report/summary.js';
import { axisTable } from '../../bench/report/tables.js';
import { takeaway } from '../../bench/report/verdicts.js';
import { MadeUp } from './made-up-results.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-verdicts-'));
afterAll(() => rmSync(folder, { recursive: true }));

function resultsOf(...reports: SuiteReport[]): Results {
  return { suites: new Map(reports.map((report) => [report.suite, report])), others: new Map() };
}

/** One case of one suite: ours and rivals beside it. */
function report(suite: string, rivals: RivalResult[], more: Partial<CaseResult> = {}): SuiteReport {
  const parameters = { items: 1e7, seed: 1 };
  const one = { suite, axis: 'constraints', at: 1e7, parameters, rivals, ...more };
  return { ...new MadeUp().build(), suite, cases: [one] };
}

const rivalOf = ({ cases: [{ rivals }] }: SuiteReport, name: string) =>
  rivals.find((one) => one.name === name)!;

/** A build of few turns: ours ran many beside other kernels, and one more beside the slow rival. */
function buildOf(slowTurns: number): SuiteReport {
  const made = new MadeUp();
  const [ours, slow] = made.compared(
    [made.timed('native-avx2', 663, 'ms'), made.timed('js-sort-and-build', 6860, 'ms', { kind: 'rival' })],
    'native-avx2',
  );
  slow.spread!.samples = slowTurns;
  slow.ratioTo = { 'native-avx2': { median: 5.97, low: 5.9, high: 6.0 } };
  return report('build', [ours, slow]);
}

describe('few samples', () => {
  const values = [3, 1, 4, 1.5, 9, 2.6];

  it('have a median and no interval', () => {
    expect(LEAST_SAMPLES).toBe(values.length);
    expect(intervalOfMedian(values.slice(1))).toEqual({ median: 2.6 });
    const { median, low, high } = intervalOfMedian(values);
    expect(median).toBe(2.8);
    expect(low! < median && median < high!).toBe(true);
  });

  it('that came in blocks tell as much as there are blocks', () => {
    const many = Array.from({ length: 41 }, (_, index) => (index * index * 37) % 997);
    const twice = (all: number[]) => all.flatMap((value) => [value, value]);
    expect(intervalOfMedian(twice(many), 1, 2)).toEqual(intervalOfMedian(many));
    const pairs = twice(values);
    expect(intervalOfMedian(pairs.slice(2), 1, 2)).toEqual({ median: 2.6 });
    expect(
      pairedRatio(
        pairs,
        pairs.map(() => 1),
        1,
        2,
      ),
    ).toMatchObject(intervalOfMedian(values));
  });

  it('are counted by the turns that both took, and so is the other’s median', () => {
    const left = [10, 20, Number.NaN, 30];
    expect(pairedRatio(left, [5, 5, 1000, 10])).toEqual({ median: 3, pairs: 3, otherP50: 5 });
    const twice = values.map((value) => 2 * value);
    expect(pairedRatio(twice, values)).toEqual({ median: 2, low: 2, high: 2, pairs: 6, otherP50: 2.8 });
  });

  it('show no interval, though a result has one, and how many there were', () => {
    expect(axisTable(buildOf(1), 'constraints')).toContain('| 5.97x (1 sample) |');
    expect(axisTable(buildOf(5), 'constraints')).toContain('| 5.97x (5 samples) |');
    expect(axisTable(buildOf(6), 'constraints')).toContain('| 5.97x (5.90x to 6.00x) |');
  });

  it('make nobody ahead or behind', () => {
    const few = buildOf(5);
    expect(leadOf(few.cases[0])).toMatchObject({ verdict: undefined, isExact: true });
    expect(leadOf(buildOf(6).cases[0])).toMatchObject({ verdict: 'ahead' });
    const sentences = summarize(resultsOf(few));
    expect(sentences).toEqual([
      'In 1 further measurement fewer than 6 turns were timed, which is too few for an interval: ' +
        'nobody is counted as ahead there (build at constraints 10M).',
    ]);
    expect(takeaway(few, 'constraints')).toContain(
      'takes 5.97x of ours at 10M (js-sort-and-build, too few turns to be sure)',
    );
  });

  it('come with what the other took in those turns, where its row says something else', () => {
    // 6.86 s over 5.97x: the run beside it took 1.15 s, and not 663 ms.
    expect(axisTable(buildOf(1), 'constraints')).toContain(
      '| in the turns of the ratio native-avx2 took 1.15 s |',
    );
    const noted = buildOf(2);
    Object.assign(rivalOf(noted, 'js-sort-and-build').ratioTo!['native-avx2'], { pairs: 2, otherP50: 1149 });
    expect(axisTable(noted, 'constraints')).toContain('native-avx2 took 1.15 s');
    const agreeing = buildOf(1);
    rivalOf(agreeing, 'js-sort-and-build').ratioTo = { 'native-avx2': { median: 10.3 } };
    expect(axisTable(agreeing, 'constraints')).not.toContain('in the turns of the ratio');
  });
});

describe('the summary', () => {
  it('counts a measurement once, however many axes go through it', () => {
    const step = new MadeUp().step();
    const [point] = step.cases;
    step.cases = ['point', 'beams', 'batch'].map((axis) => ({ ...point, axis }));
    expect(summarize(resultsOf(step))[0]).toContain('in 1 of 1 measurement,');
    step.cases[2] = { ...step.cases[2], parameters: { ...point.parameters, batch: 3 } };
    expect(summarize(resultsOf(step))[0]).toContain('in 2 of 2 measurements,');
  });

  const bytes = (): SuiteReport => {
    const made = new MadeUp();
    const rivals = ['native-avx2', 'static-csr', 'hash-bitmap'].map((name, index) =>
      made.timed(name, [100, 42_500, 60][index], 'bytes'),
    );
    for (const { spread } of rivals) spread!.samples = 1;
    rivals[1].ratioTo = { 'native-avx2': { median: 425 } };
    rivals[2].ratioTo = { 'native-avx2': { median: 0.6 } };
    return report('memory', rivals);
  };

  it('has bytes in a sentence of their own, apart from times', () => {
    const sentences = summarize(resultsOf(buildOf(6), bytes()));
    expect(sentences[0]).toBe(
      'Of times, ours is ahead of the fastest rival with the same results in 1 of 1 measurement, ' +
        'level in 0 and behind in 0; that rival takes 5.97x of ours, 5.97x in the middle.',
    );
    expect(sentences[1]).toBe('The fastest rival is js-sort-and-build.');
    expect(sentences[2]).toBe(
      'Of memory, ours is smaller than the smallest rival with the same results in 1 of 1 measurement; ' +
        'that rival, static-csr, takes 425x of our bytes.',
    );
    expect(sentences[3]).toBe('Smaller than ours, with other results: hash-bitmap, in 1 case.');
    const larger = bytes();
    rivalOf(larger, 'static-csr').ratioTo = { 'native-avx2': { median: 0.5 } };
    expect(summarize(resultsOf(larger))[0]).toContain(
      'in 0 of 1 measurement; that rival, static-csr, takes 0.50x of our bytes. Not smaller: memory at constraints 10M (static-csr takes 0.50x of ours).',
    );
  });

  it('calls nothing fast that is small', () => {
    const words = takeaway(bytes(), 'constraints');
    expect(words).toContain('Here the smallest rival with the same results takes 425x of ours at 10M');
    expect(words).not.toContain('fastest');
  });

  it('never takes who sorts and builds nothing for a rival with the same results', () => {
    const build = buildOf(6);
    const sort = structuredClone(rivalOf(build, 'js-sort-and-build'));
    Object.assign(sort, {
      name: 'numpy-lexsort',
      ratioTo: { 'native-avx2': { median: 2, low: 1.9, high: 2.1 } },
    });
    build.cases[0].rivals.push(sort);
    expect(leadOf(build.cases[0])?.rival.name).toBe('js-sort-and-build');
    expect(axisTable(build, 'constraints')).toContain('sorts, and builds nothing');
    build.cases[0].rivals.splice(1, 1);
    expect(leadOf(build.cases[0])).toMatchObject({ isExact: false });
    expect(summarize(resultsOf(build)).join()).toContain('a sort and no index');
    expect(takeaway(build, 'constraints')).toContain(
      'Here the fastest rival, with other results, takes 2.00x',
    );
  });
});

describe('a comparison of two runs of the same code', () => {
  const file = (value: SuiteReport, name: string): string => {
    const path = join(folder, name);
    writeFileSync(path, JSON.stringify(value));
    return path;
  };
  const compared = (before: SuiteReport, after: SuiteReport): string[] =>
    compareReports(file(before, 'before.json'), file(after, 'after.json')).split('\n');
  /** A busy machine's second run: times and ratios elsewhere, intervals narrow. */
  const again = (first: SuiteReport, factor: number): SuiteReport => {
    const second = structuredClone(first);
    const { spread, ratioTo } = rivalOf(second, 'js-sort-and-build');
    for (const key of ['p50', 'p95', 'p99', 'max'] as const) spread![key] *= factor;
    for (const key of ['median', 'low', 'high'] as const) ratioTo!['native-avx2'][key]! *= factor;
    return second;
  };
  const narrow = (samples: number): SuiteReport => {
    const one = buildOf(samples);
    const { spread } = rivalOf(one, 'js-sort-and-build');
    Object.assign(spread!, { p95: 6860, p99: 6860, max: 6860 });
    return one;
  };

  it('says nothing of what has too few samples to be told from noise', () => {
    const few = compared(narrow(2), again(narrow(2), 1.3));
    expect(few).toContain('1 times have fewer than 6 samples in one of the runs: not compared.');
    expect(few.at(-1)).toBe('Nothing changed beyond noise.');
    const enough = compared(narrow(6), again(narrow(6), 1.3));
    expect(enough.filter((line) => /slower$|worse$/.test(line))).toHaveLength(2);
  });

  it('allows ratios the drift of a busy machine', () => {
    const first = narrow(20);
    const second = again(first, 1.15);
    const worse = (lines: string[]) => lines.filter((line) => line.endsWith('worse'));
    expect(worse(compared(first, second))).toHaveLength(1);
    second.noise = { ...second.noise, isNoisy: true };
    second.noise.beforeUs = { ...second.noise.beforeUs, p50: second.noise.beforeUs.p50 * 1.2 };
    expect(worse(compared(first, second))).toEqual([]);
    const far = again(first, 1.5);
    far.noise = second.noise;
    expect(worse(compared(first, far))).toHaveLength(1);
  });

  it('compares bytes, which are counted, by one sample', () => {
    const of = (bytes: number) => {
      const rival = new MadeUp().timed('native-avx2', bytes, 'bytes');
      rival.spread = { p50: bytes, p95: bytes, p99: bytes, max: bytes, samples: 1 };
      return report('memory', [rival]);
    };
    expect(compared(of(100), of(104)).at(-1)).toMatch(/native-avx2 +p50 +100 B +104 B +1\.04x +more$/);
    expect(compared(of(100), of(100)).at(-1)).toBe('Nothing changed beyond noise.');
  });
});
