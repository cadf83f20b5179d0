import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { cpus, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { best } from '../../bench/baselines/ours.js';
import { readReport } from '../../bench/harness/results.js';
import type { CaseResult, RivalResult } from '../../bench/harness/types.js';
import { suites } from '../../bench/suites/index.js';
import { rivalIdeas } from '../../bench/suites/step/contestants.js';
import { named } from '../helpers/named.js';
import { missingTools } from '../native/tools.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-suites-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Checked and timed, or left out with a reason: what is timed has passed its check. */
function faultOf({ axis, at }: CaseResult, { name, status, reason, kind, spread, ...rival }: RivalResult) {
  const where = `${axis}=${at}, ${name}`;
  if (status === 'failed') return `${where} failed: ${reason}`;
  if (status === 'skipped') return reason ? undefined : `${where} is skipped without a reason`;
  if (kind !== 'floor' && !rival.resultHash) return `${where} was timed without a check of its results`;
  return spread!.samples > 0 ? undefined : `${where} has no samples`;
}

it('every suite runs small: every rival is checked, none fails, and each leaves a whole report', {
  timeout: 300_000,
}, async () => {
  const { status, stderr } = spawnSync('npm', ['run', 'bench', '--', '--size', 'small', '--out', folder], {
    cwd: root,
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  expect(readdirSync(folder).sort()).toEqual(
    Object.keys(suites)
      .map((name) => `${name}.json`)
      .sort(),
  );
  for (const [name, load] of Object.entries(suites)) {
    const suite = await load();
    expect(suite.name).toBe(name);
    const report = readReport(join(folder, `${name}.json`));
    expect(report).toMatchObject({ suite: name, size: 'small', isComplete: true, skipped: [] });
    expect(report.cases.flatMap((one) => one.failed ?? [])).toEqual([]);
    // All that the suite says it has, and nothing but that.
    expect(new Set(report.cases.map(({ axis }) => axis))).toEqual(new Set(suite.axes));
    const faults = report.cases.flatMap((one) => one.rivals.flatMap((rival) => faultOf(one, rival) ?? []));
    expect(faults).toEqual([]);
    for (const { axis, at, rivals } of report.cases) {
      expect(
        rivals.filter(({ status }) => status === 'timed').length,
        `${name} ${axis}=${at}`,
      ).toBeGreaterThan(0);
    }
  }
});

const noCompiler = missingTools('g++');

it.skipIf(noCompiler)(named('the rivals of the step are all there', noCompiler), () => {
  const { cases } = readReport(join(folder, 'step.json'));
  const { rivals } = cases.find(({ axis }) => axis === 'point')!;
  const timed = rivals.filter(({ status }) => status === 'timed').map(({ name }) => name);
  expect(timed).toEqual(expect.arrayContaining(rivalIdeas.map(({ name }) => name)));
  expect(timed).toEqual(expect.arrayContaining(['log-sum-exp', 'unconstrained', 'js', best().name]));
});

it('results say of what machine and commit they are', () => {
  const { machine, commit } = readReport(join(folder, 'rules.json'));
  expect(machine).toMatchObject({
    cpu: cpus()[0].model.trim(),
    memoryBytes: totalmem(),
    node: process.version,
  });
  expect(machine.cpuFeatures).toContain('scalar');
  const head = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' }).stdout.trim();
  expect(commit.split(',')[0]).toBe(head || 'unknown');
});

it('a wrong name ends with status 2 and what there is, and leaves nothing', () => {
  const out = join(folder, 'wrong');
  const { status, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', 'bench/main.ts', 'stepp', '--out', out],
    { cwd: root, encoding: 'utf8' },
  );
  expect(stderr).toContain(`unknown suite "stepp"; there are: ${Object.keys(suites).join(', ')}`);
  expect(status).toBe(2);
  expect(readdirSync(folder)).not.toContain('wrong');
});

it('an interrupt in the middle keeps what has finished, marked', async () => {
  const out = join(folder, 'interrupted');
  const args = ['--import', 'tsx', 'bench/main.ts', 'step', '--size', 'small', '--out', out];
  const child = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.resume();
  let printed = '';
  let finished = 0;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
    const before = finished;
    finished = printed.match(/^step \S+: .*left\)$/gm)?.length ?? 0;
    if (before < 2 && finished >= 2) child.kill('SIGINT');
  });
  const [status] = await once(child, 'exit');
  expect(status, printed).toBe(130);
  const report = readReport(join(out, 'step.partial.json'));
  const { step } = await import('../../bench/suites/step.js');
  const planned = step.plan({ size: 'small', seed: 1, large: false, axes: [] });
  expect(report.isComplete).toBe(false);
  expect(report.cases.length).toBeGreaterThanOrEqual(2);
  expect(report.cases.length).toBeLessThan(planned.length);
  expect(printed).toContain('interrupted: ending with what has finished');
  expect(readdirSync(out)).toEqual(['step.partial.json']);
});
