import { type SpawnSyncReturns, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AnswerCheck } from '../../dist/cli/bench/answer-check.js';
import { measureRounds } from '../../dist/cli/bench/rounds.js';
import { spreadOf } from '../../dist/cli/bench/spread.js';
import { benchCommand } from '../../dist/cli/bench-command.js';
import {
  EngineClient,
  monotonicMs,
  type RecommendAnswer,
  type RecommendQuery,
} from '../../dist/decoder/index.js';
import { CatalogSnapshot, openCatalogFile } from '../../dist/static-trie/index.js';
import { attributes } from '../../examples/online-retail/retail.js';
import type { BenchReport } from '../../src/cli/bench/bench-report.js';
import { buildTrie, valueAt, writeTrieFile } from '../../src/static-trie/index.js';
import { buildRetailCatalog, modelFolder, modelsDir } from '../helpers/retail.js';
import { contentOf, writeRetailDataDir } from '../helpers/retail-data-dir.js';

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'espalier-bench-command-'));
const temporary = join(folder, 'tmp');
mkdirSync(temporary);
// Where requests decode alone nothing has to be calibrated.
const env = { PATH: process.env.PATH, TMPDIR: temporary, ESPALIER_MAX_BATCH_ROWS: '1' };

function bench(args: string[], more: Record<string, string> = {}): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [main, 'bench', ...args], {
    encoding: 'utf8',
    env: { ...env, ...more },
  });
}

const { version, path: catalogFile } = await buildRetailCatalog();
const { ids, table } = version;
const prices = Array.from({ length: ids.length }, (_, item) => valueAt(table.columns.get('price')!, item));
const cheap = prices.flatMap((price, item) => ((price as number) < 1 ? [ids.at(item)] : []));
const dataDir = join(folder, 'data');
const at = '2026-01-02T00:00:00Z';
writeRetailDataDir({
  dataDir,
  file: catalogFile,
  rules: { cheap: 'price < 1.0', nothing: 'price < 0.0' },
  listed: [ids.at(7), ids.at(8), ids.at(9), 'gone'],
  changes: [
    { at, remove: [cheap[0], ids.at(9)] },
    { at, update: [{ id: cheap[1], attributes: { price: 9 } }] },
  ],
});
writeFileSync(
  join(dataDir, 'aliases.json'),
  JSON.stringify({ aliases: [{ alias: 'bargains', catalog: 'retail', constraintSet: 'cheap' }] }),
);
const ofDataDir = ['--data-dir', dataDir, '--models-dir', modelsDir];
const trieFile = join(folder, 'retail.trie');
writeTrieFile(trieFile, version.trie);

/** ONNX Runtime has files of its own there. */
function leftBehind(): string[] {
  return readdirSync(temporary).filter((name) => name.startsWith('espalier-'));
}

function line(request: object): string {
  return `${JSON.stringify({ k: 5, beamWidth: 10, ...request })}\n`;
}

describe('espalier bench', () => {
  it('times a data directory under its sets and the requests as they were sent, and leaves it as it is', () => {
    const before = contentOf(dataDir);
    const requests = join(folder, 'requests.ndjson');
    writeFileSync(
      requests,
      line({ history: [ids.at(1)], constraint: { set: 'bargains' }, excludeHistory: true }) +
        line({ catalog: 'retail', history: [ids.at(2)], constraint: { filter: 'price < 2.0' } }) +
        '\n' +
        line({ history: [ids.at(3)], constraint: { set: 'no-such-set' } }),
    );
    const sets = ['--set', 'bargains', '--set', 'listed', '--set', 'nothing'];
    const { status, stdout, stderr } = bench([
      ...[...ofDataDir, ...sets, '--rule', 'price >= 1.0', '--requests', requests],
      ...['--seconds', '1', '--together', '3', '--json'],
    ]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const report: BenchReport = JSON.parse(stdout);
    expect(report.results.map(({ constraint, allowedItems }) => [constraint, allowedItems])).toEqual([
      ['none', ids.length - 2],
      ['bargains (cheap)', cheap.length - 2],
      ['listed', 2],
      ['nothing', 0],
      // Removed items are none's, and one more costs 9.
      ['price >= 1.0', ids.length - 2 - (cheap.length - 2)],
      ['as sent', null],
    ]);
    expect(report.together.requests).toBe(3);
    expect(report.requests).toMatchObject({ source: 'file', count: 3, k: 5, beamWidth: 10 });
    const { rounds } = report;
    expect(rounds).toBeGreaterThan(0);
    for (const { constraint, alone, together } of report.results) {
      const failed = constraint === 'as sent' ? { ESP_SET_NOT_FOUND: rounds } : {};
      const samples = (constraint === 'as sent' ? 2 : 3) * rounds;
      const short =
        constraint === 'listed'
          ? { ESP_SHORTFALL_FEW_ALLOWED: samples }
          : constraint === 'nothing'
            ? { ESP_SHORTFALL_NOTHING_ALLOWED: samples }
            : {};
      const empty = constraint === 'nothing' ? samples : 0;
      for (const cell of [alone, together!]) {
        expect(cell, constraint).toMatchObject({ samples, failed, empty });
        // A narrow beam may end early; what the sets say is known.
        expect(cell.short, constraint).toMatchObject(short);
        const [total, model, part] = [cell.totalMs, cell.modelMs, cell.constraintMs].map(({ p50 }) => p50!);
        expect(Math.min(total - model, model, part), constraint).toBeGreaterThanOrEqual(0);
        expect(cell.constraintShare).toBeGreaterThan(0);
        expect(cell.constraintShare).toBeLessThan(1);
      }
    }
    // What the warm-up asked was looked at, too.
    const timed = report.results.reduce(
      (sum, { alone, together }) => sum + alone.samples + together!.samples,
      0,
    );
    expect(report.checked.answers).toBeGreaterThan(timed);
    expect(contentOf(dataDir)).toEqual(before);
  });

  it('times a static trie alone, and leaves nothing behind', () => {
    const { status, stdout, stderr } = bench(
      ['--index', trieFile, '--model', modelFolder('retail-logits'), '--seconds', '1', '--k', '3'].concat([
        '--beam-width',
        '4,5,6',
        '--together',
        '1',
      ]),
      { ESPALIER_KERNELS: 'js' },
    );
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(
      /^static trie: 3,145 items, 3,145 leaves of 3 levels; model retail-logits, version 1\n/,
    );
    expect(stdout).toMatch(/\nkernel js; threads: 1 for the model, 1 for the step; /);
    expect(stdout).toMatch(/drawn from the catalog \(seed 1\); k 3, beams 4, 5, 6\n/);
    expect(stdout).toMatch(/\nnone +3,145 +[\d.]+ /);
    expect(stdout).not.toContain('at once');
    expect(leftBehind()).toEqual([]);
  });

  it('ends at Ctrl-C with exit code 1 and without its temporary file', async () => {
    const args = ['--index', trieFile, '--model', modelFolder('retail-logits'), '--seconds', '600'];
    const child = spawn(process.execPath, [main, 'bench', ...args], {
      env,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const output: Buffer[] = [];
    child.stderr.on('data', (chunk: Buffer) => output.push(chunk));
    const exit = once(child, 'exit');
    while (leftBehind().length === 0 && child.exitCode === null) await setTimeout(2);
    child.kill('SIGINT');
    expect(await exit).toEqual([1, null]);
    expect(Buffer.concat(output).toString()).toContain('ESP_CANCELLED: interrupted before a round was whole');
    expect(leftBehind()).toEqual([]);
  });

  it('says what was expected and what came', async () => {
    const codes = Uint16Array.from([0, 1, 1, 0]);
    const { trie } = await buildTrie({ codebookSizes: [2, 2], rowCount: 2, codes });
    const small = join(folder, 'small.trie');
    writeTrieFile(small, trie);
    const bad = join(folder, 'bad.ndjson');
    writeFileSync(bad, line({ history: ['20725'] }) + line({ history: [], konstraint: {} }));
    const other = join(folder, 'other.ndjson');
    writeFileSync(other, line({ catalog: 'shop', history: [] }));
    const ofTrie = (file: string) => ['--index', file, '--model', modelFolder('retail-logits')];
    const cases: [args: string[], code: string, message: string][] = [
      [[], 'usage', 'expected one of --data-dir and --index, found neither'],
      [[...ofDataDir, '--index', small], 'usage', 'found both'],
      [[...ofTrie(small), '--set', 'cheap'], 'usage', '--catalog and --set need --data-dir'],
      [[...ofDataDir, '--seconds', '0'], 'usage', '--seconds: expected an integer from 1'],
      [[...ofDataDir, '--decode-threads', '0'], 'ESP_CONFIG_INVALID', '--decode-threads'],
      [['--data-dir', folder, '--models-dir', modelsDir], 'ESP_DATA_DIR', `${folder} is no data directory`],
      [[...ofDataDir, '--catalog', 'shop'], 'ESP_CATALOG_NOT_FOUND', 'no catalog shop; there are: retail'],
      [[...ofDataDir, '--set', 'dear'], 'ESP_SET_NOT_FOUND', 'it has: cheap, listed, nothing'],
      [
        [...ofDataDir, '--requests', bad],
        'ESP_REQUEST_INVALID',
        'bad.ndjson, line 2: konstraint: expected no',
      ],
      [
        [...ofDataDir, '--requests', other],
        'ESP_REQUEST_INVALID',
        'line 1: catalog: expected retail, found shop',
      ],
      [[...ofDataDir, '--beam-width', '5,5'], 'ESP_BEAM_WIDTH', '--beam-width: expected one width or 3'],
      [[...ofDataDir, '--rule', 'prise < 2'], 'ESP_RULE_NAME', 'prise < 2: '],
      [ofTrie(small), 'ESP_MODEL_MISFIT', "[256, 256, 256] (the model's), found [2, 2]"],
      [ofTrie(bad), 'ESP_ARTIFACT_CORRUPT', 'bad.ndjson'],
      [['--index', trieFile, '--model', folder], 'ESP_MODEL_NOT_FOUND', `found none in ${folder}`],
    ];
    for (const [args, code, message] of cases) {
      const thrown = await benchCommand(args).catch((error: unknown) => error as Error & { code?: string });
      expect(thrown, args.join(' ')).toMatchObject({ message: expect.stringContaining(message) });
      expect((thrown as { code?: string }).code ?? 'usage', args.join(' ')).toBe(code);
    }
    const usage = bench(['--prot', '80']);
    expect(usage).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining("'--prot'") });
    expect(usage.stderr).toContain('Usage:\n  espalier bench --data-dir');
  });
});

describe('the rounds of espalier bench', () => {
  const snapshot = CatalogSnapshot.of(openCatalogFile(catalogFile), attributes);
  const truth = { kind: 'rule' as const, rule: 'price < 1.0', params: {} };
  const set = { name: 'cheap', label: 'cheap', version: 1, truth, nowMs: 0 };
  const query: RecommendQuery = {
    requestId: 'one',
    catalog: 'retail',
    history: [ids.at(1)],
    k: 3,
    beamWidth: 5,
    constraint: { set: 'cheap', exclude: [ids.at(1)] },
    excludeHistory: true,
    normalize: 'vocabulary',
    temperature: 1,
    attributes: [],
    enqueuedAtMs: 0,
    deadlineAtMs: 0,
  };
  let engine: EngineClient;
  beforeAll(async () => {
    engine = new EngineClient({
      ...{ isolation: 'thread', engineCount: 1, threads: 1, stepThreads: 1, prefillCacheBytes: 0 },
      ...{
        queueLimit: 64,
        maxBatchRows: 1,
        maxBatchWaitMs: 0,
        hangTimeoutMs: 60_000,
        modelOpenTimeoutMs: 60_000,
      },
      onFailure: (error) => {
        throw error;
      },
    });
    const model = { name: 'retail-logits', version: 1, folder: modelFolder('retail-logits') };
    const bound = { name: 'cheap', version: 1, catalogVersion: 1, expiresAtMs: null };
    await engine.prepareCatalog({
      ...{ catalog: 'retail', version: 1, path: catalogFile, model, changes: null },
      sets: [{ ...bound, ...snapshot.derive(truth, 0) }],
    });
    await engine.commitCatalog('retail');
  });
  afterAll(() => engine.close());

  const rows = [
    { label: 'none', constraint: {} },
    { label: 'cheap', constraint: { set: 'cheap' } },
  ];
  const rounds = (check: AnswerCheck, onRound: (phase: string) => void, signal: AbortSignal) => {
    let phase = 'checking';
    return measureRounds({
      ...{ engine, rows, queries: [query, query], togetherCount: 2, batchWaitMs: 0, seconds: 1 },
      check: (asked, answer, label) => check.check(asked, answer, label),
      beside: () => onRound(phase),
      onTogether: () => {},
      onProgress: (now) => {
        phase = now;
      },
      signal,
    });
  };

  it('keeps the rounds that were whole when it was interrupted, with as many answers under each constraint', async () => {
    const interruption = new AbortController();
    // The first round of the second phase begins before it is told.
    let begun = 1;
    const onRound = (phase: string) => {
      if (phase === 'measuring' && ++begun === 3) interruption.abort();
    };
    const measured = await rounds(new AnswerCheck(snapshot, [set]), onRound, interruption.signal);
    expect(measured.rounds).toBe(2);
    const samples = measured.rows.map(({ alone, together }) =>
      [alone, together].map((one) => one.summary().samples),
    );
    expect(samples).toEqual([
      [4, 4],
      [4, 4],
    ]);
    expect(measured.rows[0].alone.summary().totalMs).toMatchObject({ p95: null, p99: null });
  });

  it('gives no times where an item is answered that the set does not allow', async () => {
    const other = { ...set, truth: { ...truth, rule: 'price >= 1.0' } };
    const run = rounds(new AnswerCheck(snapshot, [other]), () => {}, new AbortController().signal);
    await expect(run).rejects.toMatchObject({
      code: 'ESP_INTERNAL',
      message: expect.stringMatching(
        /^wrong answer.* under cheap .* request one .* which the set does not allow$/,
      ),
    });
  });

  it('looks at every item of an answer, and at what the answer says of itself', async () => {
    const check = new AnswerCheck(snapshot, [set]);
    const deadlineAtMs = monotonicMs() + 60_000;
    const answer = await engine.recommend({ ...query, deadlineAtMs });
    const { items } = answer;
    expect(items).toHaveLength(3);
    check.check(query, answer, 'cheap');
    expect(check.counts).toEqual({ answers: 1, items: 3 });
    const [first, second, third] = items;
    const wrongFor = (change: Partial<RecommendQuery>, found: Partial<RecommendAnswer> = {}) => {
      try {
        check.check({ ...query, ...change }, { ...answer, ...found }, 'cheap');
      } catch (thrown) {
        return (thrown as Error).message;
      }
      return 'nothing';
    };
    expect(wrongFor({ constraint: { filter: 'price > 0.9999' } })).toContain('the filter does not allow');
    expect(wrongFor({ constraint: { exclude: [first.id] } })).toContain('is among those to exclude');
    expect(wrongFor({ constraint: { include: [first.id] } })).toContain('is not among those to include');
    expect(wrongFor({ history: [second.id] })).toContain('is in the history');
    expect(wrongFor({ k: 2 })).toContain('has 3 items; expected at most 2');
    expect(wrongFor({}, { items: [first, first, third] })).toContain('is there twice');
    expect(wrongFor({}, { items: [third, second, first] })).toContain('behind one with a lower score');
    expect(wrongFor({}, { items: [{ ...first, sid: second.sid }, second, third] })).toContain('has the SID');
    expect(wrongFor({}, { items: [{ ...first, id: 'none' }, second, third] })).toContain('does not have');
    expect(wrongFor({}, { items: [first, second] })).toContain('2 of 3 items, and does not say so');
    const removed = snapshot.withChanges([{ seq: 1, at, remove: [third.id] }]).snapshot;
    expect(() => new AnswerCheck(removed, [set]).check(query, answer, 'cheap')).toThrow('was removed');
  });
});

it('gives a percentile only where there are answers enough for it', () => {
  const values = (count: number) => Array.from({ length: count }, (_, index) => count - index);
  expect(spreadOf([])).toEqual({ p50: null, p95: null, p99: null });
  expect(spreadOf(values(39))).toEqual({ p50: 20, p95: null, p99: null });
  expect(spreadOf(values(40))).toEqual({ p50: 20, p95: 38, p99: null });
  expect(spreadOf(values(200))).toEqual({ p50: 100, p95: 190, p99: 198 });
});
