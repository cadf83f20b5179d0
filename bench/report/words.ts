import type { SuiteReport } from '../harness/types.js';
import { listed, shownBase } from './format.js';
import type { Outcome } from './goals.js';
import type { Results } from './input.js';
import { suiteOrder } from './names.js';

/** Machine, commit, date and noise, of all suites together where they agree. */
export function circumstances({ suites }: Results): string[] {
  const reports = [...suites.values()];
  if (reports.length === 0) return ['No suite has been measured yet.'];
  const sentences: string[] = [];
  const noisy = reports.filter(({ noise }) => noise.isNoisy);
  for (const { suite, noise } of noisy) sentences.push(`**${suite}: ${noise.why}**`);
  if (noisy.length === 0) sentences.push('The machine was quiet in all runs.');
  else if (noisy.length < reports.length) {
    const quiet = reports.filter(({ noise }) => !noise.isNoisy).map(({ suite }) => suite);
    sentences.push(`It was quiet for ${listed(quiet)}.`);
  }
  const incomplete = reports.filter(({ isComplete }) => !isComplete).map(({ suite }) => suite);
  if (incomplete.length > 0)
    sentences.push(`**Interrupted, and shown as far as they came: ${listed(incomplete)}.**`);
  for (const [text, names] of grouped(reports.map((report) => [machineWords(report), report.suite]))) {
    sentences.push(names.length === reports.length ? text : `${listed(names)}: ${text}`);
  }
  const missing = suiteOrder.filter((suite) => !suites.has(suite));
  if (missing.length > 0) sentences.push(`Not measured yet: ${listed(missing)}.`);
  return sentences;
}

function machineWords({ machine, commit, startedAt, size, seed }: SuiteReport): string {
  const { cpu, cores, memoryBytes, cpuFeatures, node, os, versions } = machine;
  const kernel = versions.kernel === undefined ? '' : `, kernel ${versions.kernel}`;
  return (
    `${cores} cores of ${cpu} (${cpuFeatures.join(', ')}), ${shownBase(memoryBytes, 'bytes')}, ${os}, Node ${node}${kernel}; ` +
    `commit ${commit.replace(/^([0-9a-f]{12})[0-9a-f]*/, '$1')}, ${startedAt.slice(0, 10)}, size ${size}, seed ${seed}.`
  );
}

function grouped(pairs: readonly (readonly [string, string])[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [text, name] of pairs) groups.set(text, [...(groups.get(text) ?? []), name]);
  return groups;
}

/** How many goals were met, and which were not. */
export function goalWords(outcomes: readonly Outcome[]): string[] {
  const of = (state: Outcome['state']) => outcomes.filter((outcome) => outcome.state === state);
  const [met, missed, open] = [of('met'), of('missed'), of('not measured yet')];
  const sentences = [
    `Of the goals below, ${met.length} met, ${missed.length} missed, ${open.length} not measured yet.`,
  ];
  if (missed.length > 0) {
    const named = missed.map(
      ({ goal, reading }) => `${goal.what} (${goal.goal}; measured ${reading!.words})`,
    );
    sentences.push(`Missed: ${named.join('; ')}.`);
  }
  return sentences;
}

export const paperWords =
  "The paper's own figures ([STATIC](https://arxiv.org/abs/2602.22647), a TPU v6e, a model of 3 billion parameters, 20M SIDs, V=2048, L=8, B=2, M=70): " +
  '33 µs a decode step for the constraint, 0.25 % of inference; 948x over a trie on the CPU, and 47x to 1,033x over binary search (PPV); ' +
  'about 90 MB for each million constraints. Those ratios are between an accelerator and rivals that wait for the host or for memory; ' +
  'here all run on the same CPU, and the rivals are as fast as their idea allows. It is context, and no race.';
