import { parseArgs } from 'node:util';
import type { RunOptions, Size } from './types.js';

/** A command line that cannot be meant: said with what there is, exit status 2. */
export class UsageError extends Error {}

export interface Command extends RunOptions {
  what: 'run' | 'list' | 'help';
  /** In the order in which they were asked for; all where none was. */
  suites: string[];
  out: string | undefined;
}

const sizes: readonly Size[] = ['small', 'quick', 'full'];

/** The suite that takes as long as it is told. */
const SOAK = 'soak';
/** A week. */
const MOST_MINUTES = 10_080;

const options = {
  quick: { type: 'boolean' },
  size: { type: 'string' },
  axis: { type: 'string', multiple: true },
  large: { type: 'boolean' },
  seed: { type: 'string' },
  minutes: { type: 'string' },
  out: { type: 'string' },
  list: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

export const usage = `npm run bench -- [suites…] [options]

  --quick          at most two minutes for all suites: the same as --size quick
  --size SIZE      ${sizes.join(', ')}; full where nothing is said
  --axis A,B       only the cases of these axes
  --large          also the sizes that need much memory, such as 100 million constraints; in full runs
  --seed N         of everything that is drawn; 1 where nothing is said
  --minutes N      how long the soak takes, which is not run without it: npm run bench -- soak --minutes 60
  --out DIR        where the results go: bench/results for a full run of all axes, build/bench/results for others
  --list           suites, axes and about how long they take; runs nothing
  --help           this text

npm run bench -- report [DIR]
                   writes docs/benchmarks.md, its charts, docs/benchmarks.html and the README's table from the results
                   in DIR, bench/results where none is named
npm run bench -- compare BEFORE.json AFTER.json
                   what changed between two results of one suite, beyond noise

Ctrl-C keeps the cases that have finished, in DIR/<suite>.partial.json, and leaves the last complete result as it is;
a second one ends at once.
Exit status: 0, 1 where a case or a check failed, 2 for a wrong command line, 130 after an interrupt.`;

/**
 * @param names of the suites that there are
 * @throws UsageError
 */
export function parseCommand(args: readonly string[], names: readonly string[]): Command {
  const { values, positionals } = parse(args);
  for (const suite of positionals) {
    if (!names.includes(suite)) throw unknown('suite', suite, names);
  }
  if (values.quick && values.size !== undefined && values.size !== 'quick') {
    throw new UsageError(`--quick and --size ${values.size} contradict each other`);
  }
  const size = (values.quick ? 'quick' : values.size) ?? 'full';
  if (!isSize(size)) throw unknown('size', size, sizes);
  if (values.large && size !== 'full') throw new UsageError(`--large is for full runs, this one is ${size}`);
  const axes = (values.axis ?? []).flatMap((list) => list.split(','));
  if (axes.includes('')) throw new UsageError(`--axis names axes, found "${values.axis?.join(' ')}"`);
  const what = values.help ? 'help' : values.list ? 'list' : 'run';
  const isSoak = positionals.includes(SOAK);
  if (values.minutes !== undefined && !isSoak) {
    throw new UsageError(`--minutes is how long the ${SOAK} takes, which is not among the suites`);
  }
  if (what === 'run' && isSoak && values.minutes === undefined && size !== 'small') {
    throw new UsageError(`${SOAK} needs --minutes N: how long it takes`);
  }
  return {
    what,
    suites: [...new Set(positionals.length > 0 ? positionals : names)],
    size,
    seed: seedOf(values.seed ?? '1'),
    large: values.large ?? false,
    axes: [...new Set(axes)],
    ...(values.minutes !== undefined && { minutes: minutesOf(values.minutes) }),
    out: values.out,
  };
}

/** What is done with results that are there. */
export type ReportCommand =
  | { what: 'report'; results: string | undefined }
  | { what: 'compare'; before: string; after: string };

/**
 * @returns undefined where the command line is about running suites
 * @throws UsageError
 */
export function parseReportCommand([what, ...rest]: readonly string[]): ReportCommand | undefined {
  if (what !== 'report' && what !== 'compare') return undefined;
  const option = rest.find((word) => word.startsWith('-'));
  if (option !== undefined) throw new UsageError(`${what} has no options, found "${option}"`);
  if (what === 'report') {
    if (rest.length > 1) throw new UsageError(`report takes one folder at most, found ${rest.length}`);
    return { what, results: rest[0] };
  }
  if (rest.length !== 2) throw new UsageError(`compare takes two files of results, found ${rest.length}`);
  return { what, before: rest[0], after: rest[1] };
}

export function unknown(kind: string, found: string, known: readonly string[]): UsageError {
  return new UsageError(`unknown ${kind} "${found}"; there are: ${known.join(', ')}`);
}

function parse(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (thrown) {
    const known = Object.keys(options).map((name) => `--${name}`);
    throw new UsageError(`${(thrown as Error).message}\nThe options are: ${known.join(', ')}`);
  }
}

function seedOf(text: string): number {
  const seed = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  if (!(seed < 2 ** 32))
    throw new UsageError(`--seed must be an integer from 0 to 4294967295, found "${text}"`);
  return seed;
}

function minutesOf(text: string): number {
  const minutes = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(minutes > 0 && minutes <= MOST_MINUTES))
    throw new UsageError(`--minutes must be a number above 0, and at most ${MOST_MINUTES}, found "${text}"`);
  return minutes;
}

function isSize(text: string): text is Size {
  return (sizes as readonly string[]).includes(text);
}
