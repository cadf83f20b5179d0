import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { parseReportCommand, UsageError } from '../../bench/harness/arguments.js';
import type { CaseResult, SuiteReport } from '../../bench/harness/types.js';
import { chartsOf } from '../../bench/report/charts.js';
import { shown, shownPlace, shownTimes, threeDigits } from '../../bench/report/format.js';
import { goals, judgeGoals } from '../../bench/report/goals.js';
import { interruptedBeside, type Results, readResults, timedOf } from '../../bench/report/input.js';
import { leadOf } from '../../bench/report/leads.js';
import { compareReports, staleFiles, writeReport } from '../../bench/report/main.js';
import { allCharts, benchmarksPage } from '../../bench/report/markdown.js';
import { rivalNote } from '../../bench/report/names.js';
import { summarize } from '../../bench/report/summary.js';
import { boxOf, type Drawing, overlap, writeSvg } from '../../bench/report/svg/drawing.js';
import { spreadOut, withoutOverlaps } from '../../bench/report/svg/labels.js';
import { LEAST_SPAN, linearTicks, logScale, logTicks, padded } from '../../bench/report/svg/scale.js';
import { readmeTable } from '../../bench/report/tables.js';
import { MadeUp, madeUpOthers } from './made-up-results.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-report-'));
afterAll(() => rmSync(folder, { recursive: true }));

function resultsOf(reports: SuiteReport[], others: Record<string, unknown> = {}): Results {
  return {
    suites: new Map(reports.map((report) => [report.suite, report])),
    others: new Map(Object.entries(others)),
  };
}

const everything = resultsOf(new MadeUp().all(), madeUpOthers);
const nothing = resultsOf([]);
const pageOf = (results: Results) => benchmarksPage(results, allCharts(results));

describe('goals', () => {
  it('are all found in complete results', () => {
    const outcomes = judgeGoals(everything);
    expect(outcomes.filter(({ reading }) => reading === undefined).map(({ goal }) => goal.what)).toEqual([]);
    const found = Object.fromEntries(
      outcomes.map(({ goal, reading, state }) => [goal.what, [reading?.words, state]]),
    );
    expect(found).toMatchObject({
      'Index of 20M SIDs from unsorted rows, 1 thread': ['600 ms (native-avx2): 43x', 'met'],
      'Index of 20M SIDs from unsorted rows, 2 threads': ['330 ms (native-avx2-2-threads): 78x', 'met'],
      'Peak memory of that build, 20M': ['800 MB (native-avx2)', 'met'],
      'Index, bytes an item, 20M': ['18.3 B/item (native-avx2)', 'met'],
      'Index, bytes an item, 20M, in the long run': ['18.3 B/item (native-avx2)', 'missed'],
      "A rule's items known to set decodable, 20M, uniform SIDs": ['2 ms (native-avx2-overlay)', 'met'],
      "A rule's items known to set decodable, 20M, real-shaped SIDs": [
        '5 ms (native-avx2-overlay)',
        'missed',
      ],
      'The step and its log-sum-exp in a whole request, p50, HTTP, worst of its rules': [
        '1.3 % (http)',
        'missed',
      ],
      'p99 of requests beside an upload of 1M items over p99 without: none waits behind a build': [
        '1.24x',
        'met',
      ],
      'Decode step, B=2 M=70 V=2048, 20M, 1 thread': ['37 µs (native-avx2): 16x', 'met'],
      'Decode step, B=2 M=70 V=2048, 20M, 2 threads': ['19.6 µs (native-avx2-2-threads): 22x', 'met'],
      'Of which the constraint: the step beyond the log-sum-exp': ['7 µs (native-avx2)', 'met'],
      'Rule of 4 predicates over raw columns, 20M, 1 thread': ['10 ms (native-avx2)', 'met'],
      'Set laid over the trie against a trie of its own, 100 % to 0.01 %, worst': [
        '1.04x (1.02x to 1.06x)',
        'met',
      ],
      "The constraint's share of a whole decode of the demo's model, p50, worst of its rules": [
        '0.3 % (0.27 % to 0.33 %), under-2-pounds',
        'missed',
      ],
      'The same as the client sees it': ['1.4 ms (http)', 'missed'],
      'Answers that break their rule, in the soak run': ['0', 'met'],
      'On a GPU: tail levels': ['7.5 µs', 'met'],
    });
  });

  it('are named as not measured yet where no result has them', () => {
    const page = pageOf(nothing);
    const table = page.slice(page.indexOf('## Goals'), page.indexOf("## The paper's figures"));
    const rows = table.split('\n').filter((line) => line.endsWith('| not measured yet |'));
    for (const { what } of goals) expect(rows.filter((row) => row.startsWith(`| ${what} |`))).toHaveLength(1);
    // Four of them on a GPU.
    expect(rows).toHaveLength(goals.length + 4);
    expect(page).toContain('No suite has been measured yet.');
    expect(page).toContain('## The decode step (`step`)\n\nNot measured yet.');
  });

  it('that were missed are named before their table', () => {
    const page = pageOf(everything);
    const text = page.slice(0, page.indexOf('## Goals'));
    expect(text).toMatch(/Missed: .*The same as the client sees it/);
    expect(page).toContain('| at most 1 ms | 1.4 ms (http)');
    expect(text).not.toContain('Rule of 4 predicates');
  });

  it('are not read from a smaller catalog than theirs', () => {
    const step = new MadeUp().step();
    for (const { parameters } of step.cases) parameters.constraints = 1e6;
    const missing = judgeGoals(resultsOf([step])).filter(({ state }) => state === 'not measured yet');
    expect(missing.map(({ goal }) => goal.what)).toEqual(
      expect.arrayContaining([
        'Decode step, B=2 M=70 V=2048, 20M, 1 thread',
        'Decode step, B=32 M=50, 20M, 1 thread',
        'Set laid over the trie against a trie of its own, 100 % to 0.01 %, worst',
        'Memory of one set over 20M items',
        'Step with 500 excluded items over one without',
        '32 different sets in one batch against one',
      ]),
    );
  });
});

describe('charts', () => {
  const charts = [...everything.suites.values()].flatMap(chartsOf);

  it('cover every suite and axis', () => {
    for (const [suite, report] of everything.suites) {
      for (const axis of new Set(report.cases.map((one) => one.axis))) {
        expect(charts.filter((chart) => chart.suite === suite && chart.axis === axis)).not.toEqual([]);
      }
    }
    expect(new Set(charts.map(({ name }) => name)).size).toBe(charts.length);
  });

  it('have one mark for each point, and its numbers in words', () => {
    for (const [suite, report] of everything.suites) {
      for (const axis of new Set(report.cases.map((one) => one.axis))) {
        const chart = charts.find((one) => one.name === `${suite}-${axis}`)!;
        const points = report.cases.filter((one) => one.axis === axis).flatMap(timedOf);
        expect(marksIn(writeSvg(chart.drawing)), chart.name).toBe(points.length);
        for (const { name } of points) expect(chart.drawing.texts.map(({ text }) => text)).toContain(name);
      }
    }
    const { drawing } = charts.find(({ name }) => name === 'step-constraints')!;
    const hover = drawing.marks
      .map((mark) => mark.hover)
      .find((text) => text.startsWith('static-csr at 20M'));
    expect(hover).toMatch(
      /^static-csr at 20M: 51 µs; p95 \d\d\.?\d? µs, p99 \d\d\.?\d? µs, 1\.38x \(1\.35x to 1\.41x\) of native-avx2/,
    );
  });

  it('say what has no place on a logarithmic axis', () => {
    const step = new MadeUp().step();
    const one = step.cases.find(({ axis, at }) => axis === 'constraints' && at === 1e5)!;
    one.rivals.find(({ name }) => name === 'dense-mask')!.extras!.constraint.value = -0.4;
    const chart = chartsOf(step).find(({ name }) => name === 'step-constraints-constraint')!;
    const before = charts.find(({ name }) => name === 'step-constraints-constraint')!;
    expect(chart.omitted).toEqual(['dense-mask at 100k (-400 ns)']);
    expect(before.omitted).toEqual([]);
    expect(chart.drawing.marks).toHaveLength(before.drawing.marks.length - 1);
  });

  it('keep all text and marks within the view box, and no text on another', () => {
    for (const { name, drawing } of charts) {
      const { width, height, texts, marks, keys } = drawing;
      const boxes = texts.map((text) => ({ text: text.text, ...boxOf(text) }));
      const outside = boxes.filter(
        (box) => box.left < 0 || box.right > width || box.top < 0 || box.bottom > height,
      );
      expect(outside, name).toEqual([]);
      for (const { x, y } of [...marks, ...keys]) {
        expect(x > 4 && x < width - 4 && y > 30 && y < height - 40, `${name}: ${x}, ${y}`).toBe(true);
      }
      expect(overlapping(drawing), name).toEqual([]);
    }
  });

  it('put more where there is more, and ten times as much always as far', () => {
    const scale = logScale([1, 1000], [300, 0], String);
    expect([1, 10, 100, 1000].map(scale.at).map(Math.round)).toEqual([300, 200, 100, 0]);
    const { drawing } = charts.find(({ name }) => name === 'step-beams')!;
    const ours = drawing.marks.filter(({ look }) => look.isThick).sort((a, b) => a.x - b.x);
    expect(ours).toHaveLength(4);
    for (let at = 1; at < 4; at++) expect(ours[at].y).toBeLessThan(ours[at - 1].y);
  });

  it('give 0 a place of its own on a logarithmic axis', () => {
    const { drawing } = charts.find(({ name }) => name === 'step-exclusions')!;
    const places = [...new Set(drawing.marks.map(({ x }) => Math.round(x)))].sort((a, b) => a - b);
    expect(places).toHaveLength(4);
    expect(drawing.texts.map(({ text }) => text)).toEqual(
      expect.arrayContaining(['0', '10', '500', '10,000']),
    );
    expect(places[1] - places[0]).toBeGreaterThan(20);
  });

  it('draw what was sampled over time, from 0, with all points', () => {
    const { drawing } = charts.find(({ name }) => name === 'soak-minutes-10-over-time')!;
    const lines = drawing.lines.filter(({ kind }) => kind === 'series');
    expect(lines.map(({ points }) => points.length)).toEqual([60, 60, 60, 60]);
    expect(drawing.texts.map(({ text }) => text)).toEqual(
      expect.arrayContaining(['resident memory', 'open files', 'event-loop delay, p99', 'errors', 'minutes']),
    );
    expect(pageOf(everything)).toContain('Memory is flat: 0.1 MB an hour');
  });

  it('tell every series of a chart apart', () => {
    for (const { name, drawing } of charts) {
      const looks = drawing.keys.map(({ look }) => `${look.colour} ${look.mark} ${look.isThick}`);
      expect(new Set(looks).size, name).toBe(looks.length);
    }
  });
});

function marksIn(svg: string): number {
  return svg.split('class="mark"').length - 1;
}

function overlapping({ texts }: Drawing): string[] {
  const found: string[] = [];
  texts.forEach((one, index) => {
    for (const other of texts.slice(index + 1)) {
      if (overlap(boxOf(one), boxOf(other))) found.push(`${one.text} on ${other.text}`);
    }
  });
  return found;
}

describe('scales', () => {
  it('have ticks at powers of ten, and between them where those are few', () => {
    expect(logTicks(1, 1e5)).toEqual([1, 10, 100, 1000, 1e4, 1e5]);
    expect(logTicks(5e-5, 6e-3)).toEqual([1e-4, 3e-4, 1e-3, 3e-3]);
    expect(logTicks(9, 80)).toEqual([10, 20, 50]);
    expect(logTicks(40, 90)).toEqual([40, 50, 60, 80]);
    expect(linearTicks(10)).toEqual([0, 2.5, 5, 7.5, 10]);
    expect(linearTicks(0.3)).toEqual([0, 0.1, 0.2, 0.3]);
    expect(linearTicks(0)).toEqual([0]);
  });

  it('have at least three ticks, in order and within, whatever they show', () => {
    const positive = fc.double({ min: 1e-9, max: 1e12, noNaN: true });
    fc.assert(
      fc.property(fc.array(positive, { minLength: 1, maxLength: 8 }), (values) => {
        const [low, high] = padded(values);
        expect(low).toBeLessThan(Math.min(...values));
        expect(high / low).toBeGreaterThanOrEqual(LEAST_SPAN * 0.999);
        const ticks = logTicks(low, high);
        expect(ticks.length).toBeGreaterThanOrEqual(3);
        expect(ticks).toEqual([...new Set(ticks)].sort((a, b) => a - b));
        expect(ticks[0] >= low && ticks.at(-1)! <= high).toBe(true);
      }),
    );
  });

  it('leave out what would meet, and keep the ends', () => {
    const texts = [0, 10, 100, 130, 300].map((x) => {
      return { x, y: 0, text: '20,000', size: 11, anchor: 'middle', kind: 'tick' } as const;
    });
    expect(withoutOverlaps(texts).map(({ x }) => x)).toEqual([0, 100, 300]);
    expect(withoutOverlaps(texts.slice(3)).map(({ x }) => x)).toEqual([130, 300]);
    expect(withoutOverlaps([])).toEqual([]);
  });

  it('move labels apart, in their order, and no further than they must', () => {
    expect(spreadOut([50, 51, 200], 15, 0, 300)).toEqual([43, 58, 200]);
    expect(spreadOut([-5, 2], 15, 0, 300)).toEqual([0, 15]);
    fc.assert(
      fc.property(fc.array(fc.double({ min: -50, max: 450, noNaN: true }), { maxLength: 20 }), (wanted) => {
        const placed = spreadOut(wanted, 15, 0, 400);
        const order = wanted.map((_, index) => index).sort((a, b) => placed[a] - placed[b]);
        for (let at = 1; at < order.length; at++) {
          expect(placed[order[at]] - placed[order[at - 1]]).toBeGreaterThanOrEqual(15 - 1e-6);
          expect(wanted[order[at]]).toBeGreaterThanOrEqual(wanted[order[at - 1]]);
        }
        for (const place of placed) expect(place > -1e-6 && place < 400 + 1e-6).toBe(true);
      }),
    );
  });
});

describe('words', () => {
  it('show values with their units', () => {
    expect(shown(147.71, 'us')).toBe('148 µs');
    expect(shown(1841, 'us')).toBe('1.84 ms');
    expect(shown(999.7, 'us')).toBe('1 ms');
    expect(shown(0.02, 'us')).toBe('20 ns');
    expect(shown(23_153_674, 'bytes')).toBe('23.2 MB');
    expect(shown(0.0025, 'share')).toBe('0.25 %');
    expect(shownPlace('constraints', 2e7)).toBe('20M');
    expect(shownPlace('constraints', 1e5)).toBe('100k');
    expect(shownPlace('vocabulary', 65_536)).toBe('65,536');
    expect(shownPlace('selectivity', 1e-5)).toBe('0.001 %');
    expect(shownTimes(948.4)).toBe('948x');
    expect(threeDigits(20_000)).toBe('20,000');
  });

  const summaryWith = (change: (one: CaseResult) => void): string => {
    const step = new MadeUp().step();
    step.cases = step.cases.filter(({ axis }) => axis === 'constraints');
    change(step.cases[1]);
    return summarize(resultsOf([step])).join(' ');
  };
  const setRatio = (one: CaseResult, name: string, low: number, high: number): void => {
    one.rivals.find((rival) => rival.name === name)!.ratioTo!['native-avx2'] = {
      median: (low + high) / 2,
      low,
      high,
    };
  };

  it('say where we lead and where we do not, by the intervals', () => {
    expect(summaryWith(() => {})).toContain(
      'Of times, ours is ahead of the fastest rival with the same results in 4 of 4 measurements, level in 0 and behind in 0',
    );
    expect(summaryWith((one) => setRatio(one, 'static-csr', 0.98, 1.04))).toContain(
      'in 3 of 4 measurements, level in 1 and behind in 0; that rival takes 1.01x to 1.38x',
    );
    const behind = summaryWith((one) => setRatio(one, 'dense-mask', 0.8, 0.9));
    expect(behind).toContain('in 3 of 4 measurements, level in 0 and behind in 1');
    expect(behind).toContain(
      'Behind: step at constraints 1M (dense-mask takes 0.85x (0.80x to 0.90x) of ours).',
    );
  });

  it('say who is faster with other results, and never count them as rivals with the same', () => {
    const text = summaryWith((one) => setRatio(one, 'post-filter', 0.5, 0.6));
    expect(text).toContain('in 4 of 4 measurements, level in 0 and behind in 0');
    expect(text).toContain('Faster than ours, with other results: post-filter, in 1 case.');
  });

  it('leave out who was not timed', () => {
    const [one] = new MadeUp().step().cases;
    const rival = one.rivals.find(({ name }) => name === 'static-csr')!;
    expect(leadOf(one)?.rival.name).toBe('static-csr');
    Object.assign(rival, { status: 'failed', reason: 'row 3' });
    expect(leadOf(one)?.rival.name).toBe('dense-mask');
  });

  it('name who failed and who was skipped, with the reason', () => {
    const page = pageOf(everything);
    expect(page).toContain(
      '- trie-of-nobody **failed the check** at 65,536: row 3: found token 7, expected 9',
    );
    expect(page).toContain('- cuda skipped everywhere: there is no GPU');
    expect(page).toContain(
      '- At 1e8'.replace('1e8', '100M') +
        ' nothing was run: it needs 12.0 GB of memory, and there are 3.0 GB.',
    );
  });

  it('say what the machine was, and that it was busy, before anything else', () => {
    const reports = new MadeUp().all();
    const quiet = pageOf(resultsOf(reports));
    expect(quiet.indexOf('2 cores of Made-up CPU')).toBeLessThan(quiet.indexOf('## Where we lead'));
    expect(quiet).toContain('commit 0123456789ab, 2026-01-02, size full, seed 1.');
    reports[1].noise = { ...reports[1].noise, isNoisy: true, why: 'The machine was busy: 2.00x.' };
    reports[2].isComplete = false;
    const noisy = pageOf(resultsOf(reports));
    expect(noisy.split('\n')[4]).toMatch(
      /^\*\*The machine was busy before or after sets\*\*, and quiet around /,
    );
    expect(noisy).toContain('- sets: The machine was busy: 2.00x.');
    expect(noisy).toContain('Interrupted, and shown as far as they came: build.');
  });

  it('say of everybody who was timed what it is', () => {
    const { suites } = readResults(fileURLToPath(new URL('../../bench/results', import.meta.url)));
    const names = [...suites.values()].flatMap(({ cases }) => cases.flatMap(timedOf)).map(({ name }) => name);
    expect(names.length).toBeGreaterThan(100);
    expect([...new Set(names)].filter((name) => rivalNote(name) === '')).toEqual([]);
    expect(rivalNote('native-call')).toMatch(/^a call of native code /);
    expect(rivalNote('numpy-lexsort')).toContain('builds no index');
    // Of kernels that this machine lacks.
    expect(rivalNote('native-neon')).toBe('ours, neon instructions');
    expect(rivalNote('native-nobody')).toBe('');
  });

  it('have the README’s table from the largest point', () => {
    const table = readmeTable(everything);
    expect(table).toContain('One decode step over 20M SIDs (V=2048, L=8, B=2, M=70)');
    expect(table).toMatch(
      /\| \*\*native-avx2\*\*: ours, avx2 instructions \| 37 µs \| 1 \| 366 MB \| yes \|/,
    );
    expect(table).toContain('Not timed: cuda (skipped: there is no GPU).');
    expect(readmeTable(nothing)).toContain('Not measured yet');
  });
});

describe('the files', () => {
  const root = join(folder, 'root');
  const dir = join(folder, 'results');
  mkdirSync(root);
  mkdirSync(dir);
  const save = (report: SuiteReport) =>
    writeFileSync(join(dir, `${report.suite}.json`), JSON.stringify(report));
  const readme = '# A\n\n<!-- benchmark table -->\n<!-- end -->\n\nmore $& text\n';

  it('are written from the results, and known to be stale once those change', () => {
    writeFileSync(join(root, 'README.md'), readme);
    for (const report of new MadeUp().all()) save(report);
    expect(staleFiles(dir, root)).toEqual(
      expect.arrayContaining(['README.md', 'docs/benchmarks.md', 'docs/benchmarks/step-point.svg']),
    );
    const written = writeReport(dir, root);
    expect(staleFiles(dir, root)).toEqual([]);
    const svgs = readdirSync(join(root, 'docs/benchmarks')).map((name) => `docs/benchmarks/${name}`);
    expect(written.filter((path) => path.endsWith('.svg')).sort()).toEqual(svgs.sort());
    const page = readFileSync(join(root, 'docs/benchmarks.md'), 'utf8');
    for (const svg of svgs) expect(page).toContain(`(${svg.slice('docs/'.length)})`);
    expect(readFileSync(join(root, 'README.md'), 'utf8')).toMatch(
      /-->\nOne decode step[\s\S]*<!-- end -->\n\nmore \$& text\n$/,
    );

    rmSync(join(dir, 'soak.json'));
    expect(staleFiles(dir, root)).toContain('docs/benchmarks/soak-minutes-10-over-time.svg');
    writeReport(dir, root);
    expect(readdirSync(join(root, 'docs/benchmarks')).filter((name) => name.startsWith('soak'))).toEqual([]);
    expect(staleFiles(dir, root)).toEqual([]);
  });

  it('are of the complete run, and of an interrupted one where there is no other', () => {
    const before = readFileSync(join(dir, 'step.json'), 'utf8');
    const early = { ...new MadeUp().step(), isComplete: false };
    early.cases = early.cases.slice(0, 2);
    const partial = join(dir, 'step.partial.json');
    writeFileSync(partial, JSON.stringify(early));
    expect(staleFiles(dir, root)).toEqual([]);
    expect(interruptedBeside(dir)).toEqual(['step.partial.json']);
    rmSync(join(dir, 'step.json'));
    expect(interruptedBeside(dir)).toEqual([]);
    const { suites, others } = readResults(dir);
    expect(suites.get('step')).toEqual(early);
    expect([...others.keys()]).toEqual([]);
    expect(staleFiles(dir, root)).toContain('docs/benchmarks.md');
    writeFileSync(partial, JSON.stringify(new MadeUp().sets()));
    expect(() => readResults(dir)).toThrow('step.partial.json: it is the report of sets');
    rmSync(partial);
    writeFileSync(join(dir, 'step.json'), before);
  });

  it('stay as they are where there is no result to make them from', () => {
    const holds = () =>
      ['docs', 'docs/benchmarks']
        .flatMap((name) => readdirSync(join(root, name)))
        .concat(
          readFileSync(join(root, 'docs/benchmarks.md'), 'utf8'),
          readFileSync(join(root, 'README.md'), 'utf8'),
        );
    const before = holds();
    const absent = join(folder, 'absent');
    const empty = mkdtempSync(join(folder, 'empty-'));
    expect(() => writeReport(absent, root)).toThrow(`${absent}: there is no such folder of results`);
    expect(() => writeReport(empty, root)).toThrow(`${empty}: expected reports of suites, found none`);
    writeFileSync(join(empty, 'load.json'), '{"what": "load"}');
    expect(() => writeReport(empty, root)).toThrow('expected reports of suites, found none');
    expect(holds()).toEqual(before);
  });

  it('hold no script, and load nothing', () => {
    const html = readFileSync(join(root, 'docs/benchmarks.html'), 'utf8');
    expect(html).not.toMatch(/<script|<link|<img|<iframe|\bsrc=|@import|url\(|\son\w+=/i);
    expect(html).toContain('prefers-color-scheme: dark');
    expect(marksIn(html)).toBeGreaterThan(500);
    for (const name of readdirSync(join(root, 'docs/benchmarks'))) {
      const svg = readFileSync(join(root, 'docs/benchmarks', name), 'utf8');
      expect(svg).not.toMatch(/<script|href|url\(|@import|NaN|Infinity|undefined/);
      expect(svg).toContain('prefers-color-scheme: dark');
    }
  });

  it('are not written from a damaged result, which is named', () => {
    const before = readFileSync(join(root, 'docs/benchmarks.md'), 'utf8');
    const cases: [string, RegExp][] = [
      ['{', /step\.json: .*JSON/],
      ['{"format": 1, "suite": "step"}', /step\.json: not a report of a suite: /],
      [JSON.stringify(new MadeUp().sets()), /step\.json: it is the report of sets/],
    ];
    for (const [text, message] of cases) {
      writeFileSync(join(dir, 'step.json'), text);
      expect(() => writeReport(dir, root)).toThrow(message);
    }
    save(new MadeUp().step());
    writeFileSync(join(root, 'README.md'), '# no place\n');
    expect(() => writeReport(dir, root)).toThrow('README.md has no place for the benchmark table');
    expect(readFileSync(join(root, 'docs/benchmarks.md'), 'utf8')).toBe(before);
  });
});

describe('compare', () => {
  let count = 0;
  const file = (value: unknown): string => {
    const path = join(folder, `compared-${count++}.json`);
    writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value));
    return path;
  };
  const few = (): SuiteReport => {
    const step = new MadeUp().step();
    step.cases = step.cases.filter(({ axis }) => ['point', 'beams', 'neighbours'].includes(axis));
    return step;
  };
  const before = file(few());
  const compared = (change: (report: SuiteReport) => void): string[] => {
    const after = few();
    change(after);
    return compareReports(before, file(after)).split('\n');
  };
  const rivalOf = ({ cases }: SuiteReport, axis: string, at: number | string, name: string) =>
    cases.find((one) => one.axis === axis && one.at === at)!.rivals.find((one) => one.name === name)!;
  const scale = (report: SuiteReport, factor: (name: string) => number) => {
    for (const { rivals } of report.cases) {
      for (const { name, spread } of rivals) {
        if (spread !== undefined)
          for (const key of ['p50', 'p95', 'p99', 'max'] as const) spread[key] *= factor(name);
      }
    }
  };

  it('says nothing where nothing changed', () => {
    expect(compared(() => {}).at(-1)).toBe('Nothing changed beyond noise.');
    expect(compared((report) => scale(report, () => 1.004)).at(-1)).toBe('Nothing changed beyond noise.');
  });

  it('names what changed, and nothing else', () => {
    const lines = compared((report) => {
      const { spread } = rivalOf(report, 'beams', 256, 'static-csr');
      for (const key of ['p50', 'p95', 'p99', 'max'] as const) spread![key] *= 1.5;
    });
    expect(lines.filter((line) => line.includes('='))).toHaveLength(1);
    expect(lines.at(-1)).toMatch(/^beams=256 +static-csr +p50 +187 µs +280 µs +1\.50x +slower$/);
  });

  it('counts a change that the calibrating work shows as well as none', () => {
    const slower = (report: SuiteReport) => scale(report, () => 1.15);
    expect(compared(slower).filter((line) => line.endsWith('slower')).length).toBeGreaterThan(50);
    const lines = compared((report) => {
      slower(report);
      report.noise.beforeUs.p50 *= 1.2;
    });
    expect(lines).toContain(
      'The calibrating work differed by 1.20x: times that changed by less count as unchanged.',
    );
    expect(lines.at(-1)).toBe('Nothing changed beyond noise.');
  });

  it('names ratios whose intervals are apart, bytes, other results, and who failed', () => {
    const lines = compared((report) => {
      rivalOf(report, 'point', '20M', 'ppv-exact').ratioTo!['native-avx2'] = {
        median: 5,
        low: 4.9,
        high: 5.1,
      };
      rivalOf(report, 'point', '20M', 'js').extras!.bytes.value *= 2;
      rivalOf(report, 'point', '20M', 'native-avx2').resultHash = 'another';
      const failing = rivalOf(report, 'point', '1M', 'static-csr');
      Object.assign(failing, { status: 'failed', reason: 'row 3' });
      delete failing.spread;
      report.cases.pop();
    });
    const rows = lines.filter((line) => line.includes('=') || line.startsWith('point'));
    expect(rows.map((row) => row.replaceAll(/ {2,}/g, ' | '))).toEqual([
      'neighbours=2 | case | run | not run | gone',
      'point=20M | native-avx2 | results | h | another | other results',
      'point=20M | js | bytes | 366 MB | 732 MB | 2.00x | more',
      'point=20M | ppv-exact | over native-avx2 | 8.92x (8.74x to 9.10x) | 5.00x (4.90x to 5.10x) | 0.56x | better',
      'point=1M | static-csr | status | timed | failed: row 3 | FAILED',
    ]);
  });

  it('says where machines, seeds and noise differ', () => {
    const text = compared((report) => {
      report.machine.cpu = 'Another CPU';
      report.seed = 2;
      report.isComplete = false;
      Object.assign(report.noise, { isNoisy: true, why: 'The machine was busy.' });
    }).join('\n');
    expect(text).toContain('The machines differ: 2 x Made-up CPU, avx2 before, 2 x Another CPU, avx2 after.');
    expect(text).toContain('The seeds differ: 1 before, 2 after.');
    expect(text).toContain('Run after: The machine was busy.');
    expect(text).toContain('Run after is incomplete.');
  });

  it('refuses what cannot be compared, and names it', () => {
    const good = file(new MadeUp().step());
    const sets = file(new MadeUp().sets());
    expect(() => compareReports(good, sets)).toThrow(/of the suite step, .* of sets: nothing to compare/);
    const bad = file('{"what": "load"}');
    expect(() => compareReports(good, bad)).toThrow(`${bad}: not a report of a suite`);
    expect(() => compareReports(join(folder, 'absent.json'), good)).toThrow('absent.json');
  });
});

describe('the command line', () => {
  it('knows report and compare, and leaves the rest to the suites', () => {
    expect(parseReportCommand(['step', '--quick'])).toBeUndefined();
    expect(parseReportCommand([])).toBeUndefined();
    expect(parseReportCommand(['report'])).toEqual({ what: 'report', results: undefined });
    expect(parseReportCommand(['report', 'build/bench/results'])).toEqual({
      what: 'report',
      results: 'build/bench/results',
    });
    expect(parseReportCommand(['compare', 'a.json', 'b.json'])).toEqual({
      what: 'compare',
      before: 'a.json',
      after: 'b.json',
    });
    for (const args of [
      ['compare', 'a.json'],
      ['report', 'a', 'b'],
      ['report', '--quick'],
      ['compare', 'a', 'b', 'c'],
    ]) {
      expect(() => parseReportCommand(args), args.join(' ')).toThrow(UsageError);
    }
  });
});
