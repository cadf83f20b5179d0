import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkReport } from '../harness/report-schema.js';
import { PARTIAL } from '../harness/results.js';
import type { CaseResult, RivalResult, SuiteReport } from '../harness/types.js';

import { retold } from '../suites/soak/verdict.js';
import { suiteOrder } from './names.js';

/** What a folder of results holds. */
export interface Results {
  /** Reports of suites, by suite: the complete one, or where there is none, what an interrupted run has left. */
  suites: ReadonlyMap<string, SuiteReport>;
  /** What other commands have left, by file name without its ending. */
  others: ReadonlyMap<string, unknown>;
}

/**
 * @throws Error that names the file that is no JSON, or says that it is a suite's report and is not; and where the
 * folder is missing or has no suite's report, since a report of nothing would take the place of the one before
 */
export function readResults(folder: string): Results {
  if (!existsSync(folder)) throw new Error(`${folder}: there is no such folder of results`);
  const suites = new Map<string, SuiteReport>();
  const others = new Map<string, unknown>();
  const names = readdirSync(folder).filter((name) => name.endsWith('.json'));
  const passedOver = supersededIn(names);
  for (const file of names.filter((name) => !passedOver.includes(name)).sort()) {
    const path = join(folder, file);
    const name = file.slice(0, -(file.endsWith(PARTIAL) ? PARTIAL : '.json').length);
    try {
      const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
      if (!claimsToBeReport(value)) {
        others.set(name, value);
        continue;
      }
      const report = checkReport(value);
      if (report.suite !== name) throw new Error(`it is the report of ${report.suite}`);
      suites.set(name, report);
    } catch (thrown) {
      throw new Error(`${path}: ${(thrown as Error).message}`, { cause: thrown });
    }
  }
  if (suites.size === 0) throw new Error(`${folder}: expected reports of suites, found none`);
  const place = (suite: string) => suiteOrder.indexOf(suite) + 1 || suiteOrder.length + 1;
  const sorted = [...suites].sort(([a], [b]) => place(a) - place(b));
  return { suites: new Map(sorted), others };
}

/** Files of interrupted runs that the report passes over: of those suites there is a complete run. */
export function interruptedBeside(folder: string): string[] {
  return supersededIn(readdirSync(folder));
}

function supersededIn(names: readonly string[]): string[] {
  return names.filter(
    (name) => name.endsWith(PARTIAL) && names.includes(`${name.slice(0, -PARTIAL.length)}.json`),
  );
}

function claimsToBeReport(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'format' in value && 'suite' in value;
}

/** What a case comes to, in words. */
export function verdictOf({ verdict, series = [] }: CaseResult): string[] {
  return verdict === undefined ? [] : [retold(verdict, series)];
}

/** Cases of one axis, in the order in which they were run. */
export function casesOf(report: SuiteReport | undefined, axis: string): CaseResult[] {
  return report?.cases.filter((one) => one.axis === axis) ?? [];
}

/** The axes that a report has something of, in the order in which they were run. */
export function axesOf({ cases, skipped }: SuiteReport): string[] {
  return [...new Set([...cases, ...skipped].map(({ axis }) => axis))];
}

export type Timed = RivalResult & Required<Pick<RivalResult, 'unit' | 'spread'>>;

export function isTimed(rival: RivalResult): rival is Timed {
  return rival.status === 'timed' && rival.spread !== undefined && rival.unit !== undefined;
}

export function timedOf({ rivals }: CaseResult): Timed[] {
  return rivals.filter(isTimed);
}

/**
 * Whom a case's rivals are compared with: of ours, who most others have a ratio to. Undefined where nobody is
 * compared with one of ours.
 */
export function yardstickOf(one: CaseResult): Timed | undefined {
  const timed = timedOf(one);
  const votes = (name: string) => timed.filter(({ ratioTo = {} }) => name in ratioTo).length;
  const ours = timed.filter(({ name, kind }) => kind === 'ours' && votes(name) > 0);
  return ours.toSorted((a, b) => votes(b.name) - votes(a.name))[0];
}
