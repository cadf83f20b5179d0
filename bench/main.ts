import { fileURLToPath } from 'node:url';
import {
  type Command,
  parseCommand,
  parseReportCommand,
  type ReportCommand,
  UsageError,
  usage,
} from './harness/arguments.js';
import { messageOf } from './harness/contest.js';
import { listenForInterrupts } from './harness/interrupt.js';
import { listSuites, type PlannedSuite, planSuites, secondsOf } from './harness/plan.js';
import { ProgressBar } from './harness/progress.js';
import { failuresOf, runSuite } from './harness/runner.js';
import { suites } from './suites/index.js';

/** `npm run bench`: how fast the constraint is, beside every other way to constrain a decode. */
async function main(args: readonly string[]): Promise<number> {
  const reporting = parseReportCommand(args);
  if (reporting !== undefined) return report(reporting);
  const command = parseCommand(args, Object.keys(suites));
  if (command.what === 'help') {
    console.log(usage);
    return 0;
  }
  const planned = planSuites(await Promise.all(command.suites.map((name) => suites[name]())), command);
  if (command.what === 'list') {
    console.log(listSuites(planned));
    return 0;
  }
  return run(planned, command);
}

async function run(planned: readonly PlannedSuite[], command: Command): Promise<number> {
  const out = command.out ?? defaultOut(command);
  const progress = new ProgressBar(secondsOf(planned.flatMap(({ cases }) => cases)));
  const interrupts = listenForInterrupts(() =>
    progress.print('interrupted: ending with what has finished; once more to end at once'),
  );
  const failures: string[] = [];
  try {
    for (const { suite, cases } of planned) {
      if (interrupts.signal.aborted) break;
      try {
        const { report, path } = await runSuite(suite, cases, {
          ...command,
          out,
          progress,
          signal: interrupts.signal,
        });
        failures.push(...failuresOf(report));
        const state = report.isComplete ? '' : ', incomplete';
        progress.print(`${suite.name}: ${path}${state}. ${report.noise.why}`);
      } catch (thrown) {
        // Such as a full disk: the next suite may still have a place.
        failures.push(`${suite.name}: ${messageOf(thrown)}`);
        progress.print(`${suite.name} FAILED: ${messageOf(thrown)}`);
      }
    }
  } finally {
    interrupts.close();
    progress.close();
  }
  if (failures.length > 0) console.error(`${failures.length} failed:\n${failures.join('\n')}`);
  if (interrupts.signal.aborted) return 130;
  return failures.length > 0 ? 1 : 0;
}

async function report(command: ReportCommand): Promise<number> {
  const { compareReports, interruptedBeside, writeReport } = await import('./report/main.js');
  try {
    if (command.what === 'compare') {
      console.log(compareReports(command.before, command.after));
      return 0;
    }
    const root = fileURLToPath(new URL('..', import.meta.url));
    const results = command.results ?? fileURLToPath(new URL('results', import.meta.url));
    const written = writeReport(results, root);
    for (const name of interruptedBeside(results)) {
      console.log(`passed over: ${name}, which is of an interrupted run; there is a complete one`);
    }
    console.log(`written: ${written.join(', ')}`);
    return 0;
  } catch (thrown) {
    console.error(messageOf(thrown));
    return 1;
  }
}

/** Only whole runs may take the place of those that are committed. */
function defaultOut({ size, axes }: Command): string {
  const folder = size === 'full' && axes.length === 0 ? 'results' : '../build/bench/results';
  return fileURLToPath(new URL(folder, import.meta.url));
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  if (!(thrown instanceof UsageError)) throw thrown;
  console.error(thrown.message);
  process.exitCode = 2;
}
