import { markdownTable, shown, shownTimes, threeDigits } from './format.js';
import { at, numberAt } from './goals.js';
import type { Results } from './input.js';

/*
 * What other commands than the suites have measured: their files have shapes of their own, of which a table shows
 * what it finds.
 */

interface Other {
  title: string;
  command: string;
  /** In Markdown; undefined where the file has nothing of the kind. */
  table(value: unknown): string | undefined;
}

const others: Record<string, Other> = {
  load: {
    title: 'The server under load, open loop',
    command: 'npm run bench:load',
    table: (value) =>
      rowsTable(
        [
          '',
          'answers a second, closed loop',
          'p50 at 70 %',
          'p99 at 70 %',
          "a lone client: the server's own p50",
          'as the client sees it',
          'cores, an answer',
          'late at 300 %',
        ],
        ['http', 'grpc'].map((name) => {
          const of = (...path: string[]) => numberAt(value, 'results', name, ...path);
          return [
            name,
            of('perSecond'),
            ms(of('steady', 'p50Ms')),
            ms(of('steady', 'p99Ms')),
            ms(of('overhead', 'serverMs', 'p50')),
            ms(of('overhead', 'clientMs', 'p50')),
            ms(of('overhead', 'cpuMsPerAnswer')),
            of('overload', 'late'),
          ];
        }),
      ),
  },
  batching: {
    title: 'Requests decoded together, against every request alone',
    command: 'npm run bench:batching',
    table: batches,
  },
  'batching-cached': {
    title: 'The same, histories cached',
    command: 'npm run bench:batching',
    table: batches,
  },
  model: {
    title: "The demo's model under each contract, beam 50",
    command: 'npm run bench:model',
    table: (value) =>
      rowsTable(
        ['contract', 'a decode', 'over the first'],
        listAt(value, 'results')
          .filter((one) => at(one, 'decodeRatio') !== undefined)
          .map((one) => [
            String(at(one, 'what')).replace(/^.*: /, ''),
            ms(numberAt(one, 'decodeMs')),
            times(numberAt(one, 'decodeRatio', 'median')),
          ]),
      ),
  },
  changes: {
    title: 'Changes to a catalog',
    command: 'npm run bench:changes',
    table: (value) =>
      rowsTable(
        ['', 'p50', 'p95', 'samples'],
        Object.entries((value ?? {}) as object)
          .filter(([, one]) => numberAt(one, 'p50') !== undefined || typeof one === 'number')
          .map(([what, one]) => [
            what,
            numberAt(one, 'p50') ?? (one as number),
            numberAt(one, 'p95'),
            numberAt(one, 'samples') ?? 1,
          ]),
      ),
  },
};

/** A section of Markdown for each file that is known and holds something. */
export function otherSections(results: Results): string[] {
  return Object.entries(others).flatMap(([name, { title, command, table }]) => {
    const value = results.others.get(name);
    const text = value === undefined ? undefined : table(value);
    if (text === undefined) return [];
    const where = `\`${command}\`, [${name}.json](../bench/results/${name}.json)${machineOf(value)}.`;
    return [`### ${title}\n\n${where}\n\n${text}`];
  });
}

function machineOf(value: unknown): string {
  const machine = at(value, 'machine');
  const cpu = typeof machine === 'string' ? machine : at(machine, 'cpu');
  const kernel = at(value, 'kernel') ?? at(machine, 'kernel');
  const commit = at(value, 'commit');
  return [
    typeof cpu === 'string' ? `, on ${cpu}` : '',
    typeof kernel === 'string' && /^\w+$/.test(kernel) ? ` (${kernel})` : '',
    typeof commit === 'string' ? `, commit ${commit.slice(0, 12)}` : ', commit not noted',
  ].join('');
}

function batches(value: unknown): string | undefined {
  return rowsTable(
    ['beam width', 'together, a second', 'alone, a second', 'ratio', 'requests in a batch'],
    listAt(value, 'results').map((one) => [
      numberAt(one, 'beamWidth'),
      numberAt(one, 'together', 'perSecond'),
      numberAt(one, 'alone', 'perSecond'),
      times(numberAt(one, 'ratio', 'median')),
      numberAt(one, 'together', 'requestsPerBatch'),
    ]),
  );
}

function listAt(value: unknown, name: string): unknown[] {
  const found = at(value, name);
  return Array.isArray(found) ? found : [];
}

/** Rows of which nothing but the name was found are left out. */
function rowsTable(
  header: string[],
  rows: readonly (readonly (string | number | undefined)[])[],
): string | undefined {
  const found = rows.filter(([, ...values]) => values.some((value) => value !== undefined));
  if (found.length === 0) return undefined;
  return markdownTable(
    header,
    found.map((row) =>
      row.map((value) =>
        value === undefined ? '–' : typeof value === 'number' ? threeDigits(value) : value,
      ),
    ),
  );
}

const ms = (value: number | undefined) => (value === undefined ? undefined : shown(value, 'ms'));
const times = (value: number | undefined) => (value === undefined ? undefined : shownTimes(value));
