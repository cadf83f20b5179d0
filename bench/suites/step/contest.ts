import type { TrieArrays } from '../../../src/kernels/index.js';
import { loadNativeRivals } from '../../baselines/native-rivals.js';
import type { Agreement, Idea, Rival, Seats } from '../../baselines/rival.js';
import { availableBytes, shownBytes } from '../../harness/memory.js';
import { median, pairedDifference, pairedRatio, spreadOf } from '../../harness/statistics.js';
import type { CaseContext, RivalResult, Size, Unit } from '../../harness/types.js';
import { hasStructure, structureOf } from './catalogs.js';
import { type Decoding, RecordedDecodes } from './recorded-decodes.js';
import { BLOCK, type Runner, runDecode, takeTurns } from './turns.js';
import { type Verdict, Verifier } from './verify.js';

type Extras = Record<string, { value: number; unit: Unit }>;

/** Who takes part in a case, or why not. */
export interface Contestant {
  name: string;
  kind: RivalResult['kind'];
  agreement: Agreement;
  /** Why it does not run here. */
  skipped?: string;
  rival?: Rival;
  /** Whether its tries are those of the recorded decodes, so that leaf ranges are the same. */
  sharesTries?: boolean;
  /** Where it decodes under something else than the others, which is what they are compared with. */
  decoding?: Decoding;
  extras: Extras;
}

/** How much of each kind of run a case takes. */
export const effort: Record<
  Size,
  { budgetMs: number; least: number; most: number; slowestMs: number; paths: number; checked: number }
> = {
  small: { budgetMs: 0, least: 4, most: 4, slowestMs: Number.POSITIVE_INFINITY, paths: 3, checked: 2 },
  quick: { budgetMs: 700, least: 4, most: 200, slowestMs: 300, paths: 15, checked: 1 },
  full: { budgetMs: 4000, least: 12, most: 400, slowestMs: 400, paths: 31, checked: 1 },
};

/** An idea takes its place, where memory and compiler allow. @param mostBytes that it may build here */
export async function seat(
  idea: Idea,
  tables: readonly TrieArrays[],
  seats: Seats,
  mostBytes = Number.POSITIVE_INFINITY,
): Promise<Contestant> {
  const contestant = { name: idea.name, kind: idea.kind, agreement: idea.agreement, sharesTries: true };
  const distinct = [...new Set(tables)];
  const demands = distinct.filter((sids) => !hasStructure(idea, sids)).map((sids) => idea.demand(sids));
  const refusal = demands.find((demand) => demand.refusal !== undefined)?.refusal;
  if (refusal !== undefined) return { ...contestant, skipped: refusal, extras: {} };
  const need = demands.reduce((sum, { bytes }) => sum + bytes, 0);
  if (need > mostBytes) {
    const skipped = `its structure takes ${shownBytes(need)}, too long to build in so short a run`;
    return { ...contestant, skipped, extras: {} };
  }
  const have = availableBytes() * 0.8;
  if (need > have) {
    const skipped = `it needs ${shownBytes(need)} of memory, and ${shownBytes(have)} can be used`;
    return { ...contestant, skipped, extras: {} };
  }
  const { addon, reason } = loadNativeRivals();
  if (addon === null && needsAddon.has(idea.name)) return { ...contestant, skipped: reason, extras: {} };
  const built = [];
  for (const sids of tables) built.push(await structureOf(idea, sids));
  const unique = [...new Set(built)];
  const bytes = unique.reduce((sum, { structure }) => sum + structure.bytes, 0);
  const buildMs = unique.reduce((sum, one) => sum + one.buildMs, 0);
  const extras: Extras = bytes === 0 ? {} : { bytes: { value: bytes, unit: 'bytes' } };
  if (idea.kind === 'rival') extras.build = { value: buildMs, unit: 'ms' };
  const rival = idea.start(
    built.map(({ structure }) => structure),
    tables,
    seats,
  );
  return { ...contestant, rival, extras };
}

/** Ideas whose steps are in C++. */
const needsAddon = new Set([
  'array-trie',
  'ppv-exact',
  'ppv-approximate',
  'hash-bitmap',
  'dense-mask',
  'static-csr',
  'post-filter',
  'unconstrained',
]);

export interface Contest {
  decoding: Decoding;
  pool: readonly Float32Array[];
  contestants: readonly Contestant[];
  /** Whose time the others' is compared with, where they run. */
  yardsticks: readonly string[];
}

/** Checks all contestants, and times those that pass. */
export async function runContest(
  { decoding, pool, contestants, yardsticks }: Contest,
  { options, say, signal }: CaseContext,
): Promise<RivalResult[]> {
  const { budgetMs, least, most, slowestMs, paths, checked } = effort[options.size];
  say('recording decodes');
  const record = (decoding: Decoding) => {
    const decodes = new RecordedDecodes(decoding, pool, paths);
    return { decodes, verifier: new Verifier(decodes, checked) };
  };
  const common = record(decoding);
  const results: RivalResult[] = [];
  const runners: (Runner & { decodeMs: number; result: RivalResult })[] = [];
  for (const contestant of contestants) {
    signal.throwIfAborted();
    say(`checking ${contestant.name}`);
    const { name, kind, agreement, extras } = contestant;
    const { decodes, verifier } = contestant.decoding ? record(contestant.decoding) : common;
    const result: RivalResult = { name, kind, status: 'skipped', extras: { ...extras } };
    if (agreement === 'superset' || agreement === 'subset' || contestant.decoding)
      result.isApproximate = true;
    results.push(result);
    if (contestant.rival === undefined) {
      result.reason = contestant.skipped ?? 'it does not run here';
      continue;
    }
    const runner = {
      rival: contestant.rival,
      decodes,
      places: decodes.placesOf(contestant.rival, contestant.sharesTries ?? false),
    };
    const start = performance.now();
    runDecode(runner, 0);
    const firstMs = performance.now() - start;
    if (firstMs > 3 * slowestMs) {
      result.reason = `neither checked nor timed: one decode takes ${(firstMs / 1000).toFixed(1)} s`;
      continue;
    }
    const verdict = verifier.check(contestant.rival, runner.places, agreement);
    if (verdict.fault !== undefined) {
      Object.assign(result, { status: 'failed', reason: verdict.fault });
      continue;
    }
    note(result, verdict, agreement);
    const decodeMs = Math.min(firstMs, runDecode(runner, 1).reduce((sum, time) => sum + time, 0) / 1000);
    if (decodeMs > slowestMs) {
      result.reason = `checked, not timed: one decode takes ${(decodeMs / 1000).toFixed(1)} s`;
      continue;
    }
    runners.push({ ...runner, decodeMs, result });
  }
  failWhoDisagrees(results);
  const running = runners.filter(({ result }) => result.status !== 'failed');
  say(`timing ${running.length} rivals`);
  const timed = await takeTurns(
    running,
    running.map(({ decodeMs }) => decodeMs),
    { budgetMs, least, most, signal },
  );
  running.forEach(({ result }, index) => {
    Object.assign(result, {
      status: 'timed',
      unit: 'us',
      spread: spreadOf(timed[index].turns.filter((time) => !Number.isNaN(time))),
    });
    timed[index].levels.forEach((times, depth) => {
      result.extras![`level ${depth}`] = { value: median(times), unit: 'us' };
    });
    result.ratioTo = {};
    for (const name of yardsticks) {
      const other = running.findIndex((one) => one.result.name === name);
      if (other < 0 || other === index) continue;
      result.ratioTo[name] = pairedRatio(timed[index].turns, timed[other].turns, 1, BLOCK);
      if (name !== floorOf(result.name)) continue;
      result.extras!.constraint = {
        value: pairedDifference(timed[index].turns, timed[other].turns),
        unit: 'us',
      };
    }
  });
  return results;
}

/** What a rival's constraint is measured from: the log-sum-exp on as many threads. */
function floorOf(name: string): string {
  return /-2-threads$/.test(name) ? 'log-sum-exp-2-threads' : 'log-sum-exp';
}

function note(result: RivalResult, { hash, recall, falsePositives }: Verdict, agreement: Agreement): void {
  if (agreement === 'none') return;
  result.resultHash = hash;
  if (agreement === 'exact') return;
  result.extras!.recall = { value: recall, unit: 'share' };
  if (agreement === 'superset') result.extras!['false positives'] = { value: falsePositives, unit: 'share' };
}

/** All exact rivals found the same, or those that differ from most are not compared with them. */
function failWhoDisagrees(results: readonly RivalResult[]): void {
  const exact = results.filter(({ resultHash, isApproximate }) => resultHash !== undefined && !isApproximate);
  const hashes = exact.map(({ resultHash }) => resultHash);
  const common = hashes.toSorted((a, b) => votes(hashes, b) - votes(hashes, a))[0];
  for (const result of exact) {
    if (result.resultHash === common) continue;
    Object.assign(result, {
      status: 'failed',
      reason: `its results hash to ${result.resultHash}, the others' to ${common}`,
    });
  }
}

function votes(hashes: readonly (string | undefined)[], hash: string | undefined): number {
  return hashes.filter((one) => one === hash).length;
}
