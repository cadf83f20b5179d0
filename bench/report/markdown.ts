import { LEAST_SAMPLES } from '../harness/statistics.js';
import type { SuiteReport } from '../harness/types.js';
import { type Chart, chartsOf } from './charts.js';
import { judgeGoals } from './goals.js';
import { axesOf, casesOf, type Results, timedOf, verdictOf } from './input.js';
import { axisTitle, rivalNote, suiteOrder, suiteTitle } from './names.js';
import { otherSections } from './others.js';
import { paperTable } from './paper.js';
import { summarize } from './summary.js';
import { absences, axisTable, goalsTable } from './tables.js';
import { takeaway } from './verdicts.js';
import { circumstances, goalContext, goalWords, noiseWords, paperWords, servingWords } from './words.js';

const howToRun = `\`\`\`sh
npm run bench -- --quick       # all suites within two minutes, into build/bench/results
npm run bench                  # all suites in full, into bench/results
npm run bench -- soak --minutes 60
npm run bench -- report        # writes this page, its charts, docs/benchmarks.html and the README's table
npm run bench -- compare before/step.json after/step.json
\`\`\`

Every rival is checked before it is timed, and not timed where the check fails; rivals take turns, and ratios are of the times
within a turn, with a bootstrapped interval of 95 % where both took at least ${LEAST_SAMPLES} turns: of fewer their number is shown, and
nobody is called ahead. In \`step\` a turn is two decodes after one that is not timed, and both are drawn together. Rivals in C++ are
called once a request, ours once a batch: below 10 µs a step, the calls are part of what they take. \`npm run bench -- --help\` has the options, and \`--list\` all suites
and axes. Run it on a machine with nothing else to do: the first lines above say whether it had.`;

/** `docs/benchmarks.md`. */
export function benchmarksPage(results: Results, charts: ReadonlyMap<string, Chart[]>): string {
  const outcomes = judgeGoals(results);
  const suites = [...results.suites.keys()];
  const order = [...suiteOrder, ...suites.filter((suite) => !suiteOrder.includes(suite))];
  const sections = order.map((suite) => {
    const report = results.suites.get(suite);
    const heading = `## ${suiteTitle(suite)} (\`${suite}\`)`;
    return report === undefined
      ? `${heading}\n\nNot measured yet.`
      : `${heading}\n\n${suiteSection(report, charts.get(suite) ?? [])}`;
  });
  const others = otherSections(results);
  return `${[
    '<!-- Written by `npm run bench -- report` from bench/results. -->',
    '# Benchmarks',
    circumstances(results).join('\n\n'),
    '[benchmarks.html](benchmarks.html) has the same charts on one page, for those who skip the text.',
    '## Where we lead, and where we don’t',
    summarize(results)
      .map((sentence) => `- ${sentence}`)
      .join('\n'),
    goalWords(outcomes),
    '## Goals',
    goalContext(results),
    goalsTable(outcomes),
    "## The paper's figures",
    paperWords,
    paperTable(results),
    servingWords,
    '## How to run it',
    howToRun,
    ...sections,
    ...(others.length === 0
      ? []
      : [
          '## Other measurements',
          'By commands of their own, at other times and on other machines than the suites.',
          ...others,
        ]),
    ...glossary(results),
    ...noiseSection(results),
  ].join('\n\n')}\n`;
}

function noiseSection(results: Results): string[] {
  const lines = noiseWords(results).map((line) => `- ${line}`);
  return lines.length === 0 ? [] : ['## How quiet the machine was', lines.join('\n')];
}

function suiteSection(report: SuiteReport, charts: readonly Chart[]): string {
  const parts = axesOf(report).map((axis) => {
    const missing = absences(report, axis);
    const has = casesOf(report, axis).some((one) => timedOf(one).length > 0);
    const own = charts.filter((chart) => chart.axis === axis);
    return [
      `### ${capital(axisTitle(axis))}`,
      takeaway(report, axis) ?? '',
      ...casesOf(report, axis).flatMap(verdictOf),
      ...own.map(
        ({ name, drawing }) => `![${drawing.about.replaceAll(/[[\]]/g, '')}](benchmarks/${name}.svg)`,
      ),
      ...own.flatMap(({ omitted }) =>
        omitted.length > 0 ? [`Not drawn, being 0 or less: ${omitted.join('; ')}.`] : [],
      ),
      has ? details('the numbers', axisTable(report, axis)) : '',
      missing.length > 0 ? details('who is missing', missing.map((line) => `- ${line}`).join('\n')) : '',
    ];
  });
  return parts
    .flat()
    .filter((part) => part !== '')
    .join('\n\n');
}

function details(summary: string, body: string): string {
  return `<details><summary>${summary}</summary>\n\n${body}\n\n</details>`;
}

function glossary({ suites }: Results): string[] {
  const names = new Set(
    [...suites.values()].flatMap(({ cases }) => cases.flatMap(timedOf)).map(({ name }) => name),
  );
  const rows = [...names]
    .filter((name) => rivalNote(name) !== '')
    .map((name) => `- \`${name}\`: ${rivalNote(name)}`);
  return rows.length === 0 ? [] : ['## Who is who', rows.join('\n')];
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function allCharts({ suites }: Results): Map<string, Chart[]> {
  return new Map([...suites].map(([suite, report]) => [suite, chartsOf(report)]));
}
