import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { parseCommand, UsageError } from '../../bench/harness/arguments.js';
import { type Contender, runContest } from '../../bench/harness/contest.js';
import { availableBytes } from '../../bench/harness/memory.js';
import { calibrate, judgeNoise } from '../../bench/harness/noise.js';
import { listSuites, planSuites } from '../../bench/harness/plan.js';
import { ProgressBar } from '../../bench/harness/progress.js';
import { readReport, writeReport } from '../../bench/harness/results.js';
import { failuresOf, type RunnerOptions, runSuite } from '../../bench/harness/runner.js';
import { intervalOfMedian, pairedRatio, spreadOf } from '../../bench/harness/statistics.js';
import type { PlannedCase } from '../../bench/harness/types.js';
import { sums, tinyCase, tinySuite } from './tiny-suite.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-harness-'));
afterAll(() => rmSync(folder, { recursive: true }));

const small = { size: 'small', seed: 1, large: false, axes: [] } as const;

function run(cases: PlannedCase[], more: Partial<RunnerOptions> = {}) {
  const out = mkdtempSync(join(folder, 'out-'));
  const lines: string[] = [];
  const progress = new ProgressBar(1, { write: (text) => lines.push(text) });
  const options = { ...small, out, progress, signal: new AbortController().signal, ...more };
  const report = runSuite(tinySuite(cases), cases, options).then((run) => run.report);
  return { out, lines, report };
}

describe('a run', () => {
  it('keeps the cases around one that throws, and says what it threw', async () => {
    const broken = tinyCase(20, { run: () => Promise.reject(new Error('no such catalog')) });
    const { out, lines, report } = run([tinyCase(10), broken, tinyCase(30)]);
    const { cases, isComplete } = await report;
    expect(cases.map(({ at, failed }) => [at, failed])).toEqual([
      [10, undefined],
      [20, 'no such catalog'],
      [30, undefined],
    ]);
    expect(isComplete).toBe(true);
    expect(failuresOf(await report)).toEqual(['tiny length=20: no such catalog']);
    expect(lines.join('')).toContain('tiny length=20: FAILED: no such catalog');
    expect(readReport(join(out, 'tiny.json'))).toEqual(await report);
    expect(readdirSync(out)).toEqual(['tiny.json']);
  });

  it('keeps series and verdict of a case that ended early, and says that it is not whole', async () => {
    const early = tinyCase(20);
    const more = {
      series: [{ name: 'memory', unit: 'bytes' as const, points: [[0.5, 7] as [number, number]] }],
      verdict: 'Flat.',
      isPartial: true,
    };
    const run20 = early.run;
    early.run = async (context) => ({ ...(await run20(context)), ...more });
    const { out, lines, report } = run([tinyCase(10), early]);
    const { cases, isComplete } = await report;
    expect(isComplete).toBe(false);
    expect(cases.map(({ isPartial }) => isPartial)).toEqual([undefined, true]);
    expect(readReport(join(out, 'tiny.partial.json')).cases[1]).toMatchObject(more);
    expect(lines.join('')).toContain('tiny length=20: 2 timed. Flat.');
    const bent = { ...more, series: [{ ...more.series[0], points: [[0.5, 7, 8]] }] };
    const whole = await report;
    const broken = { ...whole, cases: [{ ...whole.cases[1], ...bent }] };
    expect(() => writeReport(out, broken as unknown as typeof whole)).toThrow('/cases/0/series/0/points/0');
  });

  it('skips a case that needs more memory than there is, with the need and the have', async () => {
    const { report } = run([tinyCase(10), tinyCase(20, { needsBytes: 64e9 })], { availableBytes: () => 3e9 });
    const { cases, skipped, isComplete } = await report;
    expect(cases.map(({ at }) => at)).toEqual([10]);
    expect(skipped).toEqual([
      { axis: 'length', at: 20, reason: 'it needs 64.0 GB of memory, and there are 3.0 GB' },
    ]);
    expect(isComplete).toBe(true);
  });

  it('leaves a report after each case, which is incomplete until the last', async () => {
    const seen: unknown[] = [];
    const cases = [10, 20].map((at) => {
      const { run, ...planned } = tinyCase(at);
      return {
        ...planned,
        run: (context: Parameters<typeof run>[0]) => {
          const { cases, isComplete } = readReport(join(started.out, 'tiny.partial.json'));
          seen.push([cases.length, isComplete]);
          return run(context);
        },
      };
    });
    const started = run(cases);
    await started.report;
    expect(seen).toEqual([
      [0, false],
      [1, false],
    ]);
    expect(readReport(join(started.out, 'tiny.json')).isComplete).toBe(true);
    expect(readdirSync(started.out)).toEqual(['tiny.json']);
  });

  it('that is interrupted leaves the last complete result as it is, and what finished beside it', async () => {
    const { out, report } = run([tinyCase(10)]);
    const whole = await report;
    const interrupt = new AbortController();
    const last = tinyCase(30, {
      run: async (context) => {
        interrupt.abort(new Error('interrupted'));
        context.signal.throwIfAborted();
        throw new Error('not interrupted');
      },
    });
    const { isComplete } = await run([tinyCase(20), last], { out, signal: interrupt.signal }).report;
    expect(isComplete).toBe(false);
    expect(readdirSync(out).sort()).toEqual(['tiny.json', 'tiny.partial.json']);
    expect(readReport(join(out, 'tiny.json'))).toEqual(whole);
    const kept = readReport(join(out, 'tiny.partial.json'));
    expect([kept.isComplete, kept.cases.map(({ at }) => at)]).toEqual([false, [20]]);
  });

  it('refuses what a suite may not report', async () => {
    const lie = (change: object) => {
      const { run, ...planned } = tinyCase(10);
      return {
        ...planned,
        run: async (context: Parameters<typeof run>[0]) => {
          const result = await run(context);
          Object.assign(result.rivals[1], change);
          return result;
        },
      };
    };
    const { report } = run([
      lie({ resultHash: 'another' }),
      lie({ status: 'skipped' }),
      lie({ name: 'left' }),
      lie({ ratioTo: { nobody: { median: 1, low: 1, high: 1 } } }),
    ]);
    expect((await report).cases.map(({ failed }) => failed)).toEqual([
      'right must be not compared with left: its results hash to another, those of left to 45',
      'right is skipped and has times',
      'left is there twice',
      'right is compared with nobody, which was not timed',
    ]);
  });
});

describe('a contest', () => {
  const options = {
    unit: 'us',
    warmUp: 1,
    turns: 6,
    yardsticks: ['left'],
    signal: new AbortController().signal,
  } as const;

  it('never runs a rival whose check fails, and says what was wrong', async () => {
    let runs = 0;
    const off: Contender = {
      name: 'off by one',
      kind: 'rival',
      verify: () => ({ fault: 'sum of 10: found 46, expected 45', hash: '46' }),
      run: () => runs++,
    };
    const throws: Contender = {
      ...off,
      name: 'throws',
      verify: () => {
        throw new Error('no memory');
      },
    };
    const results = await runContest([...sums(10), off, throws], options);
    expect(runs).toBe(0);
    expect(results.map(({ status, reason }) => [status, reason])).toEqual([
      ['timed', undefined],
      ['timed', undefined],
      ['failed', 'sum of 10: found 46, expected 45'],
      ['failed', 'its check ended with: no memory'],
    ]);
    expect(results[2].spread).toBeUndefined();
  });

  it('gives no ratio to rivals whose results differ, unless they are meant to', async () => {
    const [left, right] = sums(10);
    const other = { ...right, verify: () => ({ hash: 'another' }) };
    const rivals = [
      left,
      { ...other, name: 'differs' },
      { ...other, name: 'approximate', isApproximate: true },
      { ...other, name: 'floor', verify: () => ({}) },
    ];
    const [ours, differs, approximate, floor] = await runContest(rivals, options);
    expect(ours.ratioTo).toBeUndefined();
    expect(differs.ratioTo).toBeUndefined();
    expect(differs.reason).toContain('not compared with left');
    for (const { ratioTo, spread } of [approximate, floor]) {
      expect(ratioTo?.left.median).toBeGreaterThan(0);
      expect(spread?.samples).toBe(6);
    }
  });

  it('lets everybody begin turns, and everybody run once in each', async () => {
    const order: string[] = [];
    const named = ['a', 'b', 'c'].map(
      (name): Contender => ({
        name,
        kind: 'rival',
        verify: () => ({}),
        run: (turn) => order.push(`${turn}${name}`),
      }),
    );
    await runContest(named, { ...options, turns: 2 });
    expect(order.join(' ')).toBe('-1a -1b -1c 0b 0c 0a 1c 1a 1b');
  });
});

describe('statistics', () => {
  it('are those of values counted by hand', () => {
    const values = Array.from({ length: 200 }, (_, index) => 200 - index);
    expect(spreadOf(values)).toEqual({ p50: 100.5, p95: 190, p99: 198, max: 200, samples: 200 });
    expect(spreadOf([3])).toEqual({ p50: 3, p95: 3, p99: 3, max: 3, samples: 1 });
  });

  it('are the same for the same values and seed, and another seed draws others', () => {
    const values = Array.from({ length: 40 }, (_, index) => (index * 37) % 101);
    const interval = intervalOfMedian(values);
    expect(intervalOfMedian(values)).toEqual(interval);
    const others = [2, 3, 4, 5].map((seed) => intervalOfMedian(values, seed));
    expect(others.some(({ low, high }) => low !== interval.low || high !== interval.high)).toBe(true);
    expect(interval.low).toBeLessThan(interval.median);
    expect(interval.high).toBeGreaterThan(interval.median);
  });

  it('compare turn by turn, without turns that one sat out', () => {
    const right = [1, 100, 1, 100, 1, 100, 5];
    const left = right.map((time) => 2 * time);
    left[6] = Number.NaN;
    expect(pairedRatio(left, right)).toEqual({ median: 2, low: 2, high: 2, pairs: 6, otherP50: 50.5 });
  });
});

describe('noise', () => {
  const quiet = { p50: 100, p95: 104, p99: 110, max: 150, samples: 100 };

  it('is said in words, with the limits', () => {
    expect(judgeNoise(quiet, { ...quiet, p50: 103 })).toMatchObject({
      isNoisy: false,
      why: 'The machine was quiet: a fixed piece of work took 100 µs before the run and 103 µs after it.',
    });
    expect(judgeNoise(quiet, { ...quiet, p50: 140, p95: 145 }).why).toContain(
      'after the run the median was 1.40x that before it (limits 0.91x and 1.10x)',
    );
    const restless = judgeNoise({ ...quiet, p95: 200 }, quiet);
    expect(restless.isNoisy).toBe(true);
    expect(restless.why).toContain('before the run one sample in 20 took 2.00x the median or longer');
  });

  it('is measured by work that comes to the same each time', async () => {
    const spread = await calibrate(3);
    expect(spread.samples).toBe(3);
    expect(spread.p50).toBeGreaterThan(0);
  });
});

describe('memory', () => {
  const gigabyte = 2 ** 30;
  function machine(files: Record<string, string | number>): string {
    const root = mkdtempSync(join(folder, 'root-'));
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), `${content}\n`);
    }
    return root;
  }
  const meminfo = { 'proc/meminfo': `MemTotal: 99999999 kB\nMemAvailable: ${8 * 1024 * 1024} kB` };

  it('is what the system has where no group limits it', () => {
    const group = { 'proc/self/cgroup': '0::/', 'sys/fs/cgroup/memory.current': gigabyte };
    expect(availableBytes(machine(meminfo))).toBe(8 * gigabyte);
    expect(availableBytes(machine({ ...meminfo, ...group, 'sys/fs/cgroup/memory.max': 'max' }))).toBe(
      8 * gigabyte,
    );
  });

  it('is what the narrowest of the groups above leaves, cached files not counted', () => {
    const root = machine({
      ...meminfo,
      'proc/self/cgroup': '0::/pod/box',
      'sys/fs/cgroup/pod/memory.max': 4 * gigabyte,
      'sys/fs/cgroup/pod/memory.current': 3 * gigabyte,
      'sys/fs/cgroup/pod/memory.stat': `anon 5\ninactive_file ${gigabyte}\nactive_file ${gigabyte / 2}`,
      'sys/fs/cgroup/pod/box/memory.max': 'max',
      'sys/fs/cgroup/pod/box/memory.current': gigabyte,
    });
    expect(availableBytes(root)).toBe(2.5 * gigabyte);
  });

  it('knows the groups of version 1', () => {
    const root = machine({
      ...meminfo,
      'proc/self/cgroup': '5:cpu:/a\n4:memory:/box',
      'sys/fs/cgroup/memory/box/memory.limit_in_bytes': 2 * gigabyte,
      'sys/fs/cgroup/memory/box/memory.usage_in_bytes': gigabyte,
      'sys/fs/cgroup/memory/box/memory.stat': `active_file 7\ntotal_active_file ${gigabyte / 4}\ntotal_inactive_file 0`,
    });
    expect(availableBytes(root)).toBe(1.25 * gigabyte);
  });
});

describe('the command line', () => {
  const parse = (...args: string[]) => parseCommand(args, ['step', 'build', 'soak']);

  it('is full, of all suites, where nothing is said', () => {
    expect(parse()).toMatchObject({
      what: 'run',
      suites: ['step', 'build', 'soak'],
      size: 'full',
      seed: 1,
      axes: [],
    });
    expect(parse('build', '--quick', '--axis', 'beams,batch', '--seed', '7')).toMatchObject({
      suites: ['build'],
      size: 'quick',
      seed: 7,
      axes: ['beams', 'batch'],
    });
  });

  it('says how long a soak takes', () => {
    expect(parse('soak', '--minutes', '0.5')).toMatchObject({ suites: ['soak'], minutes: 0.5, size: 'full' });
    expect(parse('soak', '--size', 'small')).not.toHaveProperty('minutes');
    expect(parse('soak', '--list').what).toBe('list');
  });

  it.each([
    [['stepp'], 'unknown suite "stepp"; there are: step, build, soak'],
    [['--size', 'tiny'], 'unknown size "tiny"; there are: small, quick, full'],
    [['--sizes', 'small'], "Unknown option '--sizes'"],
    [['--sizes', 'small'], 'The options are: --quick, --size, --axis'],
    [['--seed', '1.5'], '--seed must be an integer from 0 to 4294967295, found "1.5"'],
    [['--seed', '4294967296'], 'found "4294967296"'],
    [['--quick', '--size', 'full'], '--quick and --size full contradict each other'],
    [['--quick', '--large'], '--large is for full runs, this one is quick'],
    [['--axis', 'beams,'], '--axis names axes, found "beams,"'],
    [['--minutes', '5'], '--minutes is how long the soak takes, which is not among the suites'],
    [['soak'], 'soak needs --minutes N: how long it takes'],
    [['soak', '--quick'], 'soak needs --minutes N'],
    [['soak', '--minutes', '0'], '--minutes must be a number above 0, and at most 10080, found "0"'],
    [['soak', '--minutes', '1e3'], 'found "1e3"'],
    [['soak', '--minutes', '10081'], 'found "10081"'],
  ])('%j is refused with what there is', (args, message) => {
    const call = () => parse(...args);
    expect(call).toThrow(UsageError);
    expect(call).toThrow(message);
  });

  it('refuses an axis that no chosen suite has, and leaves out suites that lack one', () => {
    const suites = [tinySuite([tinyCase(10)]), { ...tinySuite([]), name: 'other', axes: ['width'] }];
    expect(() => planSuites(suites, { ...small, axes: ['depth'] })).toThrow(
      'unknown axis of tiny, other "depth"; there are: length, width',
    );
    const planned = planSuites(suites, { ...small, axes: ['length'] });
    expect(planned.map(({ suite }) => suite.name)).toEqual(['tiny']);
    expect(listSuites(planned)).toMatch(/length +1 cases +1 s {2}10\nall +1 cases/);
    expect(() => planSuites(suites, { ...small, axes: ['width'] })).toThrow(
      'nothing to run: tiny, other: no case of size small on width',
    );
  });
});

describe('a report', () => {
  it('that is not whole never takes the place of one that is', async () => {
    const { out, report } = run([tinyCase(10)]);
    const whole = await report;
    const [first] = whole.cases;
    const broken = { ...whole, cases: [{ ...first, rivals: [{ ...first.rivals[0], status: 'lost' }] }] };
    expect(() => writeReport(out, broken as unknown as typeof whole)).toThrow('/cases/0/rivals/0/status');
    const spoiled = { ...whole, seconds: Number.NaN };
    expect(() => writeReport(out, spoiled)).toThrow('/seconds');
    expect(readReport(join(out, 'tiny.json'))).toEqual(whole);
    writeFileSync(join(out, 'half.json'), '{"format": 1');
    expect(() => readReport(join(out, 'half.json'))).toThrow(`${out}/half.json: `);
  });

  // A limit of the size of files makes the system take a part of a write, as a disk does that is nearly full.
  it('that only a part of fits is an error, and leaves the one before and no other file', async () => {
    const { out, report } = run([tinyCase(10)]);
    const whole = await report;
    const large = { ...whole, cases: Array.from({ length: 200 }, () => whole.cases[0]) };
    writeFileSync(join(folder, 'large.json'), JSON.stringify(large));
    const script = `
import { readFileSync } from 'node:fs';
import { writeReport } from './bench/harness/results.ts';
writeReport(${JSON.stringify(out)}, JSON.parse(readFileSync(${JSON.stringify(join(folder, 'large.json'))}, 'utf8')));`;
    const command = 'ulimit -f 16 && exec "$0" --import tsx --input-type=module -e "$1"';
    const { status, stderr } = spawnSync('sh', ['-c', command, process.execPath, script], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      env: { ...process.env, TSX_DISABLE_CACHE: '1' },
      encoding: 'utf8',
    });
    expect(status, stderr).not.toBe(0);
    expect(stderr).toContain('tiny.json cannot be written: EFBIG');
    expect(readReport(join(out, 'tiny.json'))).toEqual(whole);
    expect(readdirSync(out)).toEqual(['tiny.json']);
  });
});

describe('progress', () => {
  it('corrects the guess of what remains by how wrong it was so far', () => {
    let nowMs = 0;
    const lines: string[] = [];
    const bar = new ProgressBar(100, { write: (text) => lines.push(text) }, () => nowMs);
    expect(bar.remainingSeconds()).toBe(100);
    nowMs = 10_000;
    expect(bar.remainingSeconds()).toBe(90);
    nowMs = 50_000;
    bar.say('not shown where nobody looks');
    bar.finish('step beams=10: 3 timed', 25);
    expect(lines).toEqual(['step beams=10: 3 timed (about 3 min left)\n']);
  });

  it('keeps to one line of a terminal, and clears it before lines that stay', () => {
    const written: string[] = [];
    const bar = new ProgressBar(10, { isTTY: true, columns: 50, write: (text) => written.push(text) });
    bar.say('x'.repeat(100));
    bar.print('done');
    expect(written[0]).toHaveLength('\r\x1b[K'.length + 49);
    expect(written.slice(1)).toEqual(['\r\x1b[K', 'done\n']);
  });
});
