import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { CudaResults } from '../../scripts/docs/cuda.js';
import { named } from '../helpers/named.js';
import { root } from './tools.js';

/* What the check of the CUDA side says around its programs: its verdicts on made-up times, and why it cannot run. */

const folder = mkdtempSync(join(tmpdir(), 'espalier-cuda-check-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const hasPython = spawnSync('python3', ['--version']).status === 0;
const noPython = hasPython ? undefined : 'missing: python3';
const isThere = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)';
const hasTorch = spawnSync('python3', ['-c', isThere]).status === 0;
const hasGpu = existsSync('/dev/dxg') || readdirSync('/dev').some((name) => /^nvidia[0-9]/.test(name));

interface Ran {
  status: number | null;
  /** Both streams, line by line. */
  lines: string[];
}

function ran(command: string, args: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  return { status, lines: `${stdout}${stderr}`.split('\n').filter((line) => line !== '') };
}

/** In the shape in which cuda_time writes a row; times in microseconds. */
interface TimedRow {
  level: string;
  depth: number;
  graphUs?: number;
  streamedUs?: number;
  batch?: number;
  beams?: number;
  vocabSize?: number;
  leaves?: number;
  sets?: number;
  logits?: string;
}

const times = (median: number) => ({ median, p95: median * 1.1 });

function timed(rows: TimedRow[]): unknown {
  return {
    device: { name: 'made up', computeCapability: '9.0', multiprocessors: 132, memoryBytes: 1e11 },
    isEmulated: false,
    copyBytesPerSecond: 4e12,
    emptyUs: 1,
    graphSteps: 16,
    samples: 100,
    rowsLeftOut: 0,
    catalogs: [],
    rows: rows.map(({ graphUs, streamedUs, ...row }) => ({
      batch: 2,
      beams: 70,
      vocabSize: 2048,
      leaves: 19_999_000,
      sets: 0,
      logits: 'float32',
      ...row,
      logitBytes: 12e6,
      ...(graphUs && { graphUs: times(graphUs) }),
      ...(streamedUs && { streamedUs: times(streamedUs) }),
    })),
  };
}

/** In the shape in which compare.py writes it: [ours called, theirs called, ours, theirs] of each row. */
function compared(rows: [number, number, number, number | undefined][], axes = {}): unknown {
  return {
    device: 'made up',
    torch: '2.9',
    cuda: '13.0',
    isEmulated: false,
    leaves: 19_999_000,
    graphSteps: 16,
    rowsLeftOut: 0,
    rows: rows.map(([oursCalled, torchCalled, ours, torch], depth) => ({
      batch: 2,
      beams: 70,
      depth,
      logits: 'float32',
      vocabSize: 2048,
      differingRequests: 0,
      compiledDiffers: false,
      oursCalledUs: times(oursCalled),
      torchCalledUs: times(torchCalled),
      oursUs: times(ours),
      ...(torch === undefined ? { torchCaptureError: 'made up' } : { torchUs: times(torch) }),
      ...axes,
    })),
  };
}

/** A batch of 32 of 50 beams, by which bandwidth is judged. */
const large = { batch: 32, beams: 50, level: 'tail', depth: 4 };

interface Summed extends Ran {
  /** Of each mark, in order, what is said. */
  verdicts: string[];
  measured: (number | null)[];
}

function summed(time: unknown, torch?: unknown, parts = 'table\t0\t9\t\n', ...options: string[]): Summed {
  const at = mkdtempSync(join(folder, 'sum-'));
  writeFileSync(join(at, 'parts.tsv'), parts);
  writeFileSync(join(at, 'time.json'), JSON.stringify(time));
  if (torch !== undefined) writeFileSync(join(at, 'torch.json'), JSON.stringify(torch));
  const found = ran('python3', ['native/cuda/check/summary.py', at, '--commit', 'made-up', ...options]);
  const { marks } = JSON.parse(readFileSync(join(at, 'cuda.json'), 'utf8')) as CudaResults;
  const verdicts = marks.map(({ isMet }) => (isMet === null ? 'not measured' : isMet ? 'met' : 'missed'));
  // What is printed is what is written.
  const printed = found.lines.flatMap((line) => /^ {2}(not measured|met|missed) +B=/.exec(line)?.[1] ?? []);
  expect(printed).toEqual(verdicts);
  return { ...found, verdicts, measured: marks.map(({ measured }) => measured) };
}

describe.skipIf(noPython)(named('the summary of a check on a GPU', noPython), { timeout: 60_000 }, () => {
  it('says that marks are met, the worst row counting', () => {
    const { status, verdicts, measured } = summed(
      timed([
        { level: 'root', depth: 0, graphUs: 3 },
        { level: 'dense', depth: 1, graphUs: 6 },
        { level: 'tail', depth: 2, graphUs: 4 },
        { level: 'tail', depth: 4, graphUs: 2.5 },
        { ...large, streamedUs: 4 },
        { ...large, depth: 1, streamedUs: 5 },
      ]),
      compared([
        [10, 100, 5, 45],
        [10, 95, 5, 40],
      ]),
    );
    expect([status, verdicts]).toEqual([0, Array(6).fill('met')]);
    expect(measured).toEqual([4, 4, 6, 6, 0.6, 8]);
  });

  it('says which of them are missed, and that is no failure', () => {
    const { status, verdicts, measured } = summed(
      timed([
        { level: 'root', depth: 0, graphUs: 12.5 },
        { level: 'dense', depth: 1, graphUs: 3 },
        { level: 'tail', depth: 2, graphUs: 3 },
        { level: 'tail', depth: 4, graphUs: 7.5 },
        { ...large, streamedUs: 4 },
        { ...large, depth: 1, streamedUs: 6 },
      ]),
      compared([
        [10, 100, 5, 50],
        // Called singly it is fast enough, and in a graph it is not.
        [10, 100, 5, 39],
      ]),
    );
    expect(status).toBe(0);
    expect(verdicts).toEqual(['met', 'missed', 'missed', 'missed', 'missed', 'missed']);
    expect(measured).toEqual([7.5, 7.5, 12.5, 12.5, 0.5, 7.8]);
  });

  it('judges by no other rows, and not where one was not timed in full', () => {
    const tail = { level: 'tail', depth: 2, graphUs: 1 };
    const { status, verdicts } = summed(
      timed([
        { ...tail, leaves: 1_000_000 },
        { ...tail, vocabSize: 32_768 },
        { ...tail, sets: 1 },
        { ...tail, logits: 'bfloat16' },
        { ...tail, batch: 1 },
        { level: 'dense', depth: 1 },
        { ...large, level: 'root', depth: 0, streamedUs: 1 },
      ]),
      compared([
        [1, 100, 1, 100],
        [1, 100, 1, undefined],
      ]),
    );
    expect([status, verdicts]).toEqual([0, Array(6).fill('not measured')]);
    const few = { ...(compared([[1, 100, 1, 100]]) as object), leaves: 1_000_000 };
    expect(summed(timed([]), few).verdicts[5]).toBe('not measured');
    expect(summed(timed([]), compared([[1, 100, 1, 100]], { batch: 32, beams: 50 })).verdicts[5]).toBe(
      'not measured',
    );
    expect(summed(timed([])).verdicts).toEqual(Array(6).fill('not measured'));
  });

  it('fails with a part, and judges nothing that was emulated', () => {
    const parts = 'table\t0\t9\t\ntorch\t77\t0\tno PyTorch\nsanitize\t3\t9\tsaid why\n';
    const failed = summed(timed([]), undefined, parts);
    expect([failed.status, failed.lines.at(-1)]).toEqual([
      1,
      expect.stringMatching(/^1 passed, 1 failed, 1 skipped; /),
    ]);
    expect(summed(timed([]), undefined, 'torch\t77\t0\tno PyTorch\n').status).toBe(1);
    const emulated = summed(timed([]), undefined, undefined, '--emulated');
    expect([emulated.status, emulated.verdicts]).toEqual([0, []]);
  });
});

const noMissingGpu = hasGpu ? 'this machine has a GPU' : undefined;
const noMissingTorch = noPython ?? (hasTorch ? 'this Python has PyTorch' : undefined);
describe('what cannot run says why in one line', { timeout: 60_000 }, () => {
  it.skipIf(noMissingGpu)(named('the check from Node, without a GPU', noMissingGpu), () => {
    expect(ran('bash', ['native/cuda/check-node.sh'])).toEqual({
      status: 77,
      lines: ['check-node: skipped: there is no NVIDIA GPU on this machine'],
    });
  });

  it.skipIf(noMissingTorch)(named('the comparison with PyTorch, without it', noMissingTorch), () => {
    expect(ran('python3', ['examples/torch/compare.py'])).toEqual({
      status: 0,
      lines: [expect.stringMatching(/^skipped: no PyTorch \(No module named 'torch'\)$/)],
    });
  });
});
