import { cpus } from 'node:os';
import type { Config } from '../../server/index.js';
import { packageVersion } from '../../server/index.js';
import { alignTable, count } from '../report.js';
import type { CellSummary } from './cells.js';
import type { Queries } from './queries.js';
import type { Measured, Row } from './rounds.js';
import type { SoftmaxFloor } from './softmax-floor.js';
import { LEAST_SAMPLES, type Spread, spreadOf } from './spread.js';
import type { Subject } from './subject.js';

/** All that a report is made of. */
export interface Findings {
  subject: Subject;
  queries: Queries;
  config: Pick<Config, 'decodeThreads' | 'stepThreads' | 'decodeIsolation'>;
  kernel: { name: string; step: string };
  measured: Measured;
  /** Items that each row allows. */
  allowedItems: ReadonlyMap<Row, number | null>;
  checked: { answers: number; items: number };
  floor: SoftmaxFloor | null;
  /** Requests that came together, and batches that they were decoded in. */
  batches: { togetherCount: number; requests: number; batches: number };
  askedSeconds: number;
  isInterrupted: boolean;
  notes: string[];
}

export type BenchReport = ReturnType<typeof reportOf>;

export function reportOf(findings: Findings) {
  const { subject, queries, config, kernel, measured, floor, batches } = findings;
  const { manifest, model, snapshot } = subject;
  const { version } = snapshot;
  return {
    espalier: packageVersion(),
    node: process.version,
    machine: { cpu: cpus().at(0)?.model.trim() ?? 'unknown', cores: cpus().length },
    kernel,
    threads: { model: config.decodeThreads, step: config.stepThreads },
    isolation: config.decodeIsolation,
    catalog: {
      kind: subject.kind,
      name: subject.name,
      version: subject.version,
      items: version.leafItems.itemCount - snapshot.removedCount,
      leaves: version.trie.leafCount,
      codebookSizes: [...version.trie.codebookSizes],
    },
    model: { name: manifest.name, version: model.version, contract: manifest.contract },
    requests: {
      source: queries.source,
      count: queries.list.length,
      description: queries.description,
      k: sameOf(queries.list.map(({ k }) => k)),
      beamWidth: sameOf(queries.list.map(({ beamWidth }) => beamWidth)),
    },
    checked: findings.checked,
    seconds: { asked: findings.askedSeconds, measured: measured.measuredMs / 1000 },
    rounds: measured.rounds,
    isInterrupted: findings.isInterrupted,
    together: {
      requests: batches.togetherCount,
      meanBatch: batches.batches === 0 ? null : batches.requests / batches.batches,
    },
    results: measured.rows.map(({ row, alone, together }) => ({
      constraint: row.label,
      allowedItems: findings.allowedItems.get(row) ?? null,
      alone: alone.summary(),
      together: batches.togetherCount === 1 ? null : together.summary(),
    })),
    logSumExp: floor && { rows: floor.rows, ms: spreadOf(floor.ms) },
    notes: findings.notes,
  };
}

export function textOf(report: BenchReport): string {
  const { catalog, model, kernel, threads, requests, checked, together, results, logSumExp } = report;
  const { k, beamWidth } = requests;
  const width = beamWidth === null ? 'of several widths' : [beamWidth].flat().join(', ');
  const step = kernel.step === kernel.name ? '' : `, steps ${kernel.step}`;
  const head = [
    `${nameOf(catalog)}: ${count(catalog.items)} items, ${count(catalog.leaves)} leaves of ${catalog.codebookSizes.length} levels; model ${model.name}, version ${model.version}`,
    `kernel ${kernel.name}${step}; threads: ${threads.model} for the model, ${threads.step} for the step; ${report.machine.cores} x ${report.machine.cpu}`,
    `requests: ${requests.description}; k ${k ?? 'as each says'}, beams ${width}`,
    `${count(report.rounds)} round${report.rounds === 1 ? '' : 's'} in ${report.seconds.measured.toFixed(1)} s; ${count(checked.answers)} answers with ${count(checked.items)} items checked, item by item: all allowed`,
  ];
  const alone = results.map((result) => ({ ...result, cell: result.alone }));
  const parts = [head.join('\n'), tableOf('one at a time (ms)', alone)];
  if (together.requests > 1) {
    const batch = together.meanBatch === null ? '' : `, in batches of ${together.meanBatch.toFixed(1)}`;
    const cells = results.flatMap((result) =>
      result.together === null ? [] : [{ ...result, cell: result.together }],
    );
    parts.push(tableOf(`${together.requests} at once${batch} (ms)`, cells));
  }
  parts.push(
    [...answerLines(report), ...shareLines(logSumExp), ...gapLines(report), ...report.notes].join('\n'),
  );
  return parts.join('\n\n');
}

const SPREADS = ['totalMs', 'modelMs', 'constraintMs'] as const;

function tableOf(
  title: string,
  cells: readonly { constraint: string; allowedItems: number | null; cell: CellSummary }[],
): string {
  const head = [title, 'items', 'total p50', 'p95', 'p99', 'model p50', 'p95', 'p99'];
  const rows = cells.map(({ constraint, allowedItems, cell }) => [
    constraint,
    allowedItems === null ? '' : count(allowedItems),
    ...SPREADS.flatMap((name) => spreadCells(cell[name])),
    cell.constraintShare === null ? '-' : `${(cell.constraintShare * 100).toFixed(1)} %`,
    cell.answersPerSecond === null ? '-' : cell.answersPerSecond.toFixed(0),
  ]);
  return alignTable([[...head, 'constraint p50', 'p95', 'p99', 'share', 'answers/s'], ...rows]);
}

function spreadCells({ p50, p95, p99 }: Spread): string[] {
  return [p50, p95, p99].map((value) => (value === null ? '-' : shortMs(value)));
}

/** Three digits that count. */
function shortMs(value: number): string {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3);
}

function nameOf({ kind, name, version }: BenchReport['catalog']): string {
  if (kind === 'catalog') return `catalog ${name}, version ${version}`;
  return kind === 'static-trie' ? 'static trie' : 'catalog version';
}

/** Answers that had fewer items than asked for, or were none. */
function answerLines({ results }: BenchReport): string[] {
  return results.flatMap(({ constraint, alone, together }) => {
    const cells = [alone, ...(together === null ? [] : [together])];
    const sum = (of: (cell: CellSummary) => number) => cells.reduce((total, cell) => total + of(cell), 0);
    const answers = sum(({ samples }) => samples);
    const shortCodes = [...new Set(cells.flatMap(({ short }) => Object.keys(short)))];
    const failedCodes = [...new Set(cells.flatMap(({ failed }) => Object.keys(failed)))];
    const lines: string[] = [];
    if (shortCodes.length > 0) {
      const reasons = shortCodes.map((code) => `${count(sum(({ short }) => short[code] ?? 0))} ${code}`);
      const empty = sum((cell) => cell.empty);
      const none = empty === 0 ? '' : `; ${count(empty)} were empty`;
      lines.push(`short answers under ${constraint}, of ${count(answers)}: ${reasons.join(', ')}${none}`);
    }
    if (failedCodes.length > 0) {
      const reasons = failedCodes.map((code) => `${count(sum(({ failed }) => failed[code] ?? 0))} ${code}`);
      lines.push(`requests without an answer under ${constraint}, not in the times: ${reasons.join(', ')}`);
    }
    return lines;
  });
}

function shareLines(logSumExp: BenchReport['logSumExp']): string[] {
  const lines = [
    'share: of the time in the engine, what the constraint takes: its sets, and every decode step',
  ];
  if (logSumExp === null || logSumExp.ms.p50 === null) return lines;
  const rows = logSumExp.rows.join(' + ');
  return [
    ...lines,
    `  of it, the log-sum-exp of ${rows} rows of logits takes ${shortMs(logSumExp.ms.p50)} ms, which beam search needs without a constraint, too`,
  ];
}

function gapLines({ results }: BenchReport): string[] {
  const cells = results.flatMap(({ alone, together }) => (together === null ? [alone] : [alone, together]));
  if (cells.every(({ samples }) => samples >= LEAST_SAMPLES.p99)) return [];
  const { p95, p99 } = LEAST_SAMPLES;
  return [`-: too few answers (a p95 takes ${p95}, a p99 ${p99}); more --seconds or fewer sets give more`];
}

/** The value that all have; null where they differ. */
function sameOf<Value>(values: readonly Value[]): Value | null {
  return values.every((value) => String(value) === String(values[0])) ? values[0] : null;
}
