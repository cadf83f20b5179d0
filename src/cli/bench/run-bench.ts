import { EngineClient, type SetSnapshot } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import { type CudaFinding, chooseKernel, findCudaFor, type KernelChoice } from '../../kernels/index.js';
import type { Config } from '../../server/index.js';
import { type ConstraintSet, type Progress, setHasItem } from '../../static-trie/index.js';
import { AnswerCheck } from './answer-check.js';
import { type BenchReport, reportOf } from './bench-report.js';
import { listenForSignals } from './interruption.js';
import { type Queries, type QueryOptions, queriesFor } from './queries.js';
import { type Measured, measureRounds, type Row } from './rounds.js';
import { SoftmaxFloor } from './softmax-floor.js';
import {
  deriveSet,
  findSubject,
  type Subject,
  type SubjectPlaces,
  type SubjectSet,
  withSubject,
} from './subject.js';

/** Histories differ, and so do the two halves of a run; by more than this only where the machine does. */
const STEADY = 1.3;
/** Sets that are measured where none is named. */
export const DEFAULT_SETS = 8;

export interface BenchPlan {
  places: SubjectPlaces;
  config: Config;
  /** Names or aliases; none: the first of the catalog. */
  sets: readonly string[];
  /** Rules in CEL. */
  rules: readonly string[];
  queries: QueryOptions;
  togetherCount: number;
  seconds: number;
}

/** What is asked, and under what. */
interface Asking {
  queries: Queries;
  /** Those of the rows, and those that requests name. */
  sets: readonly SubjectSet[];
  rows: readonly { row: Row; set: SubjectSet | undefined }[];
  notes: string[];
}

/**
 * Measures a catalog's requests as a server with one engine would answer them.
 * @throws EspalierError; ESP_CANCELLED where it was interrupted before anything was measured
 */
export async function runBench(plan: BenchPlan, onProgress: Progress): Promise<BenchReport> {
  const { config } = plan;
  // Before anything that takes long: a wrong name of a kernel, or files that do not fit.
  const cuda = findCudaFor();
  const kernel = chooseKernel(undefined, config.stepThreads, cuda);
  const found = await findSubject(plan.places, onProgress);
  let engine: EngineClient | undefined;
  const interruption = listenForSignals(() => engine?.kill());
  try {
    return await withSubject(found, async (subject) => {
      const asking = await askingFor(subject, plan);
      const batches = { togetherCount: 0, requests: 0, batches: 0, isCounted: false };
      engine = startEngine(config, cuda, batches);
      try {
        return await measure(
          { plan, subject, asking, engine, kernel, batches, onProgress },
          interruption.signal,
        );
      } finally {
        await engine.close();
      }
    });
  } finally {
    interruption.close();
  }
}

interface Measuring {
  plan: BenchPlan;
  subject: Subject;
  asking: Asking;
  engine: EngineClient;
  kernel: KernelChoice;
  batches: { togetherCount: number; requests: number; batches: number; isCounted: boolean };
  onProgress: Progress;
}

async function measure(
  { plan, subject, asking, engine, kernel, batches, onProgress }: Measuring,
  signal: AbortSignal,
): Promise<BenchReport> {
  const { config, seconds } = plan;
  const { queries, sets, rows, notes } = asking;
  onProgress('opening', 0);
  const { name, model, activation, snapshot } = subject;
  const snapshots = new Map<SubjectSet, SetSnapshot>();
  for (const set of sets) snapshots.set(set, deriveSet(subject, set));
  const check = new AnswerCheck(snapshot, sets);
  const { vocabSize } = await engine.loadModel(model);
  await engine.prepareCatalog({ ...activation, sets: [...snapshots.values()] });
  await engine.commitCatalog(name);
  const { trie } = snapshot.version;
  const floor = SoftmaxFloor.of(kernel, { trie, vocabSize, queries: queries.list });
  batches.togetherCount = Math.min(plan.togetherCount, queries.list.length);
  const measured = await measureRounds({
    engine,
    rows: rows.map(({ row }) => row),
    queries: queries.list,
    togetherCount: batches.togetherCount,
    batchWaitMs: config.maxBatchWaitMs,
    seconds,
    check: (query, answer, label) => check.check(query, answer, label),
    beside: () => floor?.measure(),
    onTogether: (isTogether) => {
      batches.isCounted = isTogether;
    },
    onProgress,
    signal,
  });
  refuseNothing(measured, signal);
  const allowed = rows.map(({ row, set }): [Row, number | null] => {
    // What a request may get is its own matter.
    if (row.constraint === undefined) return [row, null];
    return [row, allowedCount(subject, set && snapshots.get(set)!.set)];
  });
  return reportOf({
    subject,
    queries,
    config,
    kernel: { name: kernel.name, step: engine.deviceReports.at(0)?.stepName ?? kernel.stepName },
    measured,
    allowedItems: new Map(allowed),
    checked: check.counts,
    floor,
    batches,
    askedSeconds: seconds,
    isInterrupted: signal.aborted,
    notes: [...notes, ...notesOn(measured, signal)],
  });
}

/** What a reader must know who believes the times. */
function notesOn({ rows }: Measured, signal: AbortSignal): string[] {
  const notes: string[] = [];
  const drift = rows[0].alone.drift;
  if (drift !== null && Math.max(drift, 1 / drift) > STEADY) {
    const factor = drift.toFixed(2);
    notes.push(
      `not a quiet machine: without a constraint, the later half took ${factor} times the earlier one`,
    );
  }
  if (signal.aborted) notes.push('interrupted: these are the rounds that were whole by then');
  return notes;
}

/** Items of a set, or of the catalog, without removed ones. */
function allowedCount({ snapshot }: Subject, set: ConstraintSet | undefined): number {
  const { leafItems } = snapshot.version;
  if (set === undefined) return leafItems.itemCount - snapshot.removedCount;
  const effective = snapshot.withoutRemoved(set);
  const isIn = (item: number) => setHasItem(leafItems, effective.set, item);
  return effective.set!.itemCount - effective.excluded.filter(isIn).length;
}

/** @throws EspalierError where there is nothing to report */
function refuseNothing({ rows, rounds }: Measured, signal: AbortSignal): void {
  if (rounds === 0 && signal.aborted) {
    throw new EspalierError(
      'ESP_CANCELLED',
      'interrupted before a round was whole; there is nothing to report',
    );
  }
  const cells = rows.flatMap(({ alone, together }) => [alone, together]);
  if (cells.some((cell) => cell.summary().samples > 0)) return;
  const failure = cells.find((cell) => cell.firstFailure !== undefined)?.firstFailure;
  if (failure === undefined) return;
  const { code, message } = failure;
  throw new EspalierError(code, `every request failed, the first with: ${message}`, { cause: failure });
}

/** What a server starts, but one engine, and no histories kept: each is read anew. */
function startEngine(config: Config, cuda: CudaFinding, batches: Measuring['batches']): EngineClient {
  return new EngineClient({
    isolation: config.decodeIsolation,
    engineCount: 1,
    threads: config.decodeThreads,
    stepThreads: config.stepThreads,
    prefillCacheBytes: 0,
    queueLimit: config.decodeQueueLimit,
    maxBatchRows: config.maxBatchRows,
    maxBatchWaitMs: config.maxBatchWaitMs,
    hangTimeoutMs: config.decodeHangTimeoutMs,
    modelOpenTimeoutMs: config.modelOpenTimeoutMs,
    cuda,
    // What it was doing fails with the same error.
    onFailure: () => {},
    onBatch: ({ requests }) => {
      if (!batches.isCounted) return;
      batches.requests += requests;
      batches.batches++;
    },
  });
}

async function askingFor(subject: Subject, plan: BenchPlan): Promise<Asking> {
  const notes: string[] = [];
  const { beamWidth } = plan.queries;
  const levels = subject.snapshot.version.trie.levelCount;
  if (Array.isArray(beamWidth) && beamWidth.length !== levels) {
    const message = `--beam-width: expected one width or ${levels}, one for each level; found ${beamWidth.length}`;
    throw new EspalierError('ESP_BEAM_WIDTH', message);
  }
  const queries = await queriesFor(subject, plan.queries);
  const measuredSets = [...setsFor(subject, plan.sets, notes), ...plan.rules.map(ruleSet)];
  const rows: Asking['rows'] = [
    { row: { label: 'none', constraint: {} }, set: undefined },
    ...measuredSets.map((set) => ({ row: { label: set.label, constraint: { set: set.name } }, set })),
  ];
  const sent = queries.list.filter(({ constraint }) => Object.keys(constraint).length > 0);
  const named = new Set(sent.map(({ constraint }) => constraint.set));
  const others = subject.sets.filter((set) => named.has(set.name) && !measuredSets.includes(set));
  const asSent = { row: { label: 'as sent', constraint: undefined }, set: undefined };
  if (queries.source === 'drawn') {
    notes.push('histories are drawn evenly; --requests measures your own');
  }
  if (subject.serverPid !== undefined) {
    notes.push(
      `a server (process ${subject.serverPid}) runs on the data directory; what it does lengthens these times`,
    );
  }
  return {
    queries,
    sets: [...measuredSets, ...others],
    rows: sent.length === 0 ? rows : [...rows, asSent],
    notes,
  };
}

/** @throws EspalierError ESP_SET_NOT_FOUND; ESP_ARTIFACT_CORRUPT on a damaged one */
function setsFor(subject: Subject, names: readonly string[], notes: string[]): SubjectSet[] {
  const { sets, aliases, damagedSets } = subject;
  if (names.length === 0) {
    const leftOut = sets.length - DEFAULT_SETS;
    if (leftOut > 0) notes.push(`${leftOut} further sets are not measured; --set names those that are`);
    return sets.slice(0, DEFAULT_SETS);
  }
  return [...new Set(names)].map((name) => {
    const own = aliases.get(name) ?? name;
    const damage = damagedSets.get(own);
    if (damage !== undefined) throw damage;
    const set = sets.find((one) => one.name === own);
    if (set !== undefined) return set.name === name ? set : { ...set, label: `${name} (${own})` };
    const found = sets.map((one) => one.name).join(', ') || 'none';
    const message = `catalog ${subject.name} has no constraint set ${name} in force; it has: ${found}`;
    throw new EspalierError('ESP_SET_NOT_FOUND', message, {
      details: [{ field: '--set', expected: 'the name of a constraint set', found: name }],
    });
  });
}

/** No set of a catalog has a name with a space. */
function ruleSet(rule: string, index: number): SubjectSet {
  const truth = { kind: 'rule' as const, rule, params: {} };
  return { name: `rule ${index + 1}`, label: rule, version: 1, truth, nowMs: Date.now() };
}
