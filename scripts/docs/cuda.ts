import { table } from './http-api.js';

/** The measured part of docs/cuda.md, from what native/cuda/check.sh leaves on a machine with a GPU. */

interface Times {
  median: number;
  p95: number;
}

/** bench/results/cuda.json, as native/cuda/check/summary.py writes it; what the page shows of it. */
export interface CudaResults {
  commit: string;
  isEmulated: boolean;
  machine: { gpu: { name: string } | null; driver: string | null; nvcc: string | null; cpu: string };
  marks: {
    what: string;
    unit: string;
    goal: number;
    isLessBetter: boolean;
    measured: number | null;
    isMet: boolean | null;
  }[];
  time: {
    copyBytesPerSecond: number;
    graphSteps: number;
    rowsLeftOut: number;
    rows: {
      batch: number;
      beams: number;
      vocabSize: number;
      leaves: number;
      sets: number;
      level: string;
      logits: string;
      graphUs?: Times;
      coldUs?: Times;
      streamedUs?: Times;
      baselineUs?: Times;
    }[];
  } | null;
  torch: {
    torch: string;
    rows: {
      batch: number;
      beams: number;
      depth: number;
      logits: string;
      oursCalledUs?: Times;
      torchCalledUs?: Times;
      oursUs?: Times;
      torchUs?: Times;
    }[];
  } | null;
}

/** The page with its measured part as it follows from the results; undefined: there are none. */
export function cudaPage(page: string, results: CudaResults | undefined): string {
  const block = /<!-- cuda table -->[\s\S]*?<!-- end -->/;
  if (!block.test(page)) throw new Error('docs/cuda.md has no place for its table');
  return page.replace(block, () => `<!-- cuda table -->\n${measured(results)}\n<!-- end -->`);
}

function measured(results: CudaResults | undefined): string {
  if (results === undefined) return 'not measured yet';
  // The twin on the CPU has no times, and a page that showed some would be wrong.
  if (results.isEmulated || results.time === null)
    throw new Error('bench/results/cuda.json was not measured on a GPU');
  const { machine, time, torch, marks, commit } = results;
  const parts = [
    `${machine.gpu?.name ?? 'GPU'}, driver ${machine.driver ?? 'unknown'}, nvcc ${machine.nvcc ?? 'unknown'}, ` +
      `${machine.cpu}; commit ${commit}. Copies within the device move ${(time.copyBytesPerSecond / 1e9).toFixed(0)} GB/s, ` +
      'read and written.',
    table(
      ['mark', 'goal', 'measured', ''],
      marks.map((mark) =>
        cells(
          mark.what,
          `${mark.isLessBetter ? '≤' : '≥'} ${mark.goal} ${mark.unit}`,
          mark.measured ?? '–',
          mark.isMet === null ? 'not measured' : mark.isMet ? 'met' : 'missed',
        ),
      ),
    ),
    `Microseconds for one step, medians: in a graph of ${time.graphSteps} steps; in a graph of one with a cold L2; with logits ` +
      "streamed from memory; and STATIC's step in plain CUDA, in a graph as well.",
    table(
      [
        'B',
        'M',
        'V',
        'leaves',
        'sets',
        'level',
        'logits',
        'graph',
        'p95',
        'cold',
        'streamed',
        'STATIC',
        'ratio',
      ],
      time.rows.map((row) =>
        cells(
          row.batch,
          row.beams,
          row.vocabSize,
          row.leaves,
          row.sets === 0 ? '–' : row.sets,
          row.level,
          row.logits,
          us(row.graphUs),
          row.graphUs?.p95.toFixed(1) ?? '–',
          us(row.coldUs),
          us(row.streamedUs),
          us(row.baselineUs),
          ratio(row.baselineUs, row.graphUs),
        ),
      ),
    ),
  ];
  if (time.rowsLeftOut > 0) parts.push(`${time.rowsLeftOut} rows were left out for want of time.`);
  if (torch !== null) {
    parts.push(
      `Against STATIC's step in PyTorch ${torch.torch} under \`torch.compile(mode="reduce-overhead")\`: called one by one, and ` +
        `in a graph of ${time.graphSteps}.`,
      table(
        ['B', 'M', 'depth', 'logits', 'called', 'PyTorch', 'ratio', 'graph', 'PyTorch', 'ratio'],
        torch.rows.map((row) =>
          cells(
            row.batch,
            row.beams,
            row.depth,
            row.logits,
            us(row.oursCalledUs),
            us(row.torchCalledUs),
            ratio(row.torchCalledUs, row.oursCalledUs, 'not measured'),
            us(row.oursUs),
            us(row.torchUs),
            ratio(row.torchUs, row.oursUs, 'not measured'),
          ),
        ),
      ),
    );
  }
  return parts.join('\n\n');
}

/** Cells are texts. */
const cells = (...values: (string | number)[]) => values.map(String);

const us = (times: Times | undefined) => times?.median.toFixed(1) ?? '–';

const ratio = (theirs: Times | undefined, ours: Times | undefined, absent = '–') =>
  theirs && ours ? `${(theirs.median / ours.median).toFixed(1)}×` : absent;
