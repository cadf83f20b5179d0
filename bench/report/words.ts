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
  const [noisy, quiet] = [true, false].map((isNoisy) =>
    reports.filter(({ noise }) => noise.isNoisy === isNoisy).map(({ suite }) => suite),
  );
  if (noisy.length === 0) sentences.push('The machine was quiet in all runs.');
  else {
    const rest = quiet.length === 0 ? '' : `, and quiet around ${listed(quiet)}`;
    sentences.push(
      `**The machine was busy before or after ${listed(noisy)}**${rest}: ratios are of times that follow each other and bear with that, single times less. The end of this page has what was seen.`,
    );
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

/** What the fixed piece of work around each suite's run showed. */
export function noiseWords({ suites }: Results): string[] {
  return [...suites.values()].map(({ suite, noise }) => `${suite}: ${noise.why}`);
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

/** How many goals were met, and which were not; their table has the figures. */
export function goalWords(outcomes: readonly Outcome[]): string {
  const of = (state: Outcome['state']) => outcomes.filter((outcome) => outcome.state === state);
  const [met, missed, open] = [of('met'), of('missed'), of('not measured yet')];
  const counts = `Of the goals below, ${met.length} met, ${missed.length} missed, ${open.length} not measured yet.`;
  return missed.length === 0
    ? counts
    : `${counts} Missed: ${missed.map(({ goal }) => goal.what).join('; ')}.`;
}

/** What figures of elsewhere mean, and what this machine lacks beside the one that goals were set on. */
export function goalContext({ suites }: Results): string {
  const lacksAvx512 = [...suites.values()].some(
    ({ machine }) => !machine.cpuFeatures.some((name) => name.includes('avx512')),
  );
  return (
    'Figures from elsewhere were measured on another machine (the reference: PyTorch 1.13 and numpy 2.4 on two cores with AVX-512): they are context. ' +
    'Where a goal is a ratio to one of them, ours is divided into a figure of that machine. The goals were set there, too' +
    (lacksAvx512
      ? '; the one of these results has no AVX-512, so that they say as much of the machine as of the code.'
      : '.')
  );
}

export const paperWords =
  "The paper's own figures ([STATIC](https://arxiv.org/abs/2602.22647), a TPU v6e, a model of 3 billion parameters, 20M SIDs, V=2048, L=8, B=2, M=70): " +
  '33 µs a decode step for the constraint, 0.25 % of inference; 948x over a trie on the CPU, and 47x to 1,033x over binary search (PPV); ' +
  'about 90 MB for each million constraints. Those ratios are between an accelerator and rivals that wait for the host or for memory; ' +
  'here all run on the same CPU, and the rivals are as fast as their idea allows. It is context, and no race.';

export const servingWords =
  'Servers of others, by their own figures, on hardware and models that these results have nothing of: FlashRec on an RTX 5090, OneRec-1.7B in FP8 with prompts of ' +
  'about 2,500 tokens and 50 results, 28 requests a second (SGLang 18, TensorRT-LLM 13, vLLM 3.9, none of these constrained); NVIDIA SID-GR on an H100, ' +
  'Qwen3-1.7B in BF16, beam 256, 3 tokens, 17.6 ms (SGLang 33.5 ms). Engines of an open vocabulary find beams of which 17 to 27 % are no items. ' +
  "How good the demo's recommendations are, beside most popular and a tuned item-kNN, is in the README.";
