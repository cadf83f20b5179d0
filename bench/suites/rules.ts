import { availableParallelism } from 'node:os';
import { chooseKernel, type KernelChoice, type Scan, usableLevels } from '../../src/kernels/index.js';
import {
  type ConstraintSet,
  compileRule,
  constraintSetFromItems,
  evaluateRule,
  setByteLength,
  setHasItem,
} from '../../src/static-trie/index.js';
import type { CaseContext, CaseResult, PlannedCase, RunOptions, Size, Suite } from '../harness/types.js';
import {
  type Attributes,
  BYTES_AN_ITEM,
  makeAttributes,
  predicates,
  readArrays,
  schema,
  shareOfRanks,
} from './rules/columns.js';
import { allOf, type BenchRule, faultOfBits, faultOfItems, firstAndAnyOf, itemLoop } from './rules/rule.js';
import { type Task, timeTasks } from './sets/tasks.js';
import { Catalogs } from './step/catalogs.js';

const itemCounts: Record<Size, number> = { small: 5000, quick: 1_000_000, full: 20_000_000 };
const values = {
  predicates: { small: [1, 8], quick: [1, 4, 8], full: [1, 2, 4, 8] },
  selectivity: { small: [0.5], quick: [0.5, 0.001], full: [1, 0.5, 0.1, 0.001] },
  decodable: { small: [0.5], quick: [0.1], full: [1, 0.1, 0.001] },
} as const;
const LEVELS = 8;
const codebookSizes: Record<Size, number> = { small: 64, quick: 2048, full: 2048 };
const NOW_MS = Date.UTC(2025, 0, 1);

const catalogs = new Catalogs();
const memory: { attributes?: { key: string; attributes: Attributes } } = {};

/** Rules over a catalog's columns. */
export const rules: Suite = {
  name: 'rules',
  about:
    'Rules evaluated over columns, beside a loop over the items; from a rule’s text to a set that can be decoded under.',
  axes: Object.keys(values),
  plan,
  async close() {
    delete memory.attributes;
    catalogs.clear();
  },
};

function plan({ size, seed }: RunOptions): PlannedCase[] {
  const itemCount = itemCounts[size];
  const planned: PlannedCase[] = [];
  const add = (axis: string, at: number, rule: BenchRule, run: Run, bytesAnItem: number) => {
    const one = { axis, at, rule, size, seed, itemCount };
    planned.push({
      axis,
      at,
      needsBytes: itemCount * bytesAnItem,
      seconds: caseSeconds[size],
      run: (context) => run(one, context),
    });
  };
  // The floor copies what the rule reads.
  for (const at of values.predicates[size]) {
    add('predicates', at, allOf(predicates.slice(0, at)), runScan, 2 * BYTES_AN_ITEM);
  }
  for (const at of values.selectivity[size]) add('selectivity', at, ofShare(at), runScan, 2 * BYTES_AN_ITEM);
  for (const at of values.decodable[size])
    add('decodable', at, ofShare(at), runDecodable, BYTES_AN_ITEM + 5 * LEVELS + 24);
  return planned;
}

const caseSeconds: Record<Size, number> = { small: 0.2, quick: 1, full: 5.4 };

/** Four predicates, one of which decides for nearly all items. */
function ofShare(share: number): BenchRule {
  return firstAndAnyOf(
    shareOfRanks(share),
    predicates.filter(({ attribute }) => ['category', 'price', 'stock'].includes(attribute)),
  );
}

interface RuleCase {
  axis: string;
  at: number;
  rule: BenchRule;
  size: Size;
  seed: number;
  itemCount: number;
}
type Run = (one: RuleCase, context: CaseContext) => Promise<CaseResult>;

/** Made once for a run. */
function attributesOf({ itemCount, seed }: RuleCase, { say }: CaseContext): Attributes {
  const key = `${itemCount} ${seed}`;
  if (memory.attributes?.key !== key) {
    say('making the columns');
    memory.attributes = { key, attributes: makeAttributes(itemCount, seed) };
  }
  return memory.attributes!.attributes;
}

interface Evaluator {
  name: string;
  kernel: KernelChoice;
  scan: Scan;
}

/** Every instruction set, the best first and also on two threads, then js. */
function evaluators(): Evaluator[] {
  const on = (name: string, threads: number, suffix = ''): Evaluator => {
    const kernel = chooseKernel(name);
    const shown = name === 'js' ? name : `native-${name}${suffix}`;
    return { name: shown, kernel, scan: (program) => kernel.scan(program, threads) };
  };
  const native = usableLevels()
    .map(({ name }) => on(name, 1))
    .reverse();
  const best = usableLevels().at(-1);
  if (best !== undefined && availableParallelism() > 1) native.splice(1, 0, on(best.name, 2, '-2-threads'));
  return [...native, on('js', 1)];
}

/** A rule that is compiled already, for all items. */
async function runScan(one: RuleCase, context: CaseContext): Promise<CaseResult> {
  const { rule } = one;
  const attributes = attributesOf(one, context);
  const compiled = compileRule(rule.cel, schema, {});
  const evaluated = {
    resultOf: (bits: unknown) => [bits as Uint32Array],
    faultOf: (bits: unknown) => faultOfBits(rule, attributes, bits as Uint32Array),
  };
  const read = readArrays(attributes, rule.attributes).map(
    ({ buffer, byteOffset, byteLength }) => new Uint8Array(buffer, byteOffset, byteLength),
  );
  const target = new Uint8Array(Math.max(...read.map(({ length }) => length)));
  const tasks: Task[] = [
    ...evaluators().map(
      ({ name, scan }): Task => ({
        name,
        kind: 'ours',
        run: () => evaluateRule(compiled, attributes.table, NOW_MS, scan),
        ...evaluated,
      }),
    ),
    { name: 'js-item-loop', kind: 'rival', run: itemLoop(rule, attributes), ...evaluated },
    {
      name: 'copy',
      kind: 'floor',
      run: () => {
        for (const bytes of read) target.set(bytes);
      },
    },
  ];
  const rivals = await timeTasks(tasks, tasks[0].name, context);
  const bytes = read.reduce((sum, { length }) => sum + length, 0);
  return resultOf(one, { bytesRead: bytes }, rivals);
}

/** From a rule's text to a set that requests can decode under. */
async function runDecodable(one: RuleCase, context: CaseContext): Promise<CaseResult> {
  const { rule, size, seed, itemCount } = one;
  const attributes = attributesOf(one, context);
  context.say('building the catalog');
  const { trie, leafItems } = await catalogs.get({
    shape: 'skewed',
    rowCount: itemCount,
    codebookSize: codebookSizes[size],
    levels: LEVELS,
    seed,
  });
  const tasks = evaluators().map(
    ({ name, kernel, scan }): Task => ({
      name,
      kind: 'ours',
      run: () => {
        const compiled = compileRule(rule.cel, schema, {});
        const bits = evaluateRule(compiled, attributes.table, NOW_MS, scan);
        return constraintSetFromItems(trie, leafItems, bits, kernel.sets);
      },
      resultOf: (made) => {
        const { live, sharedItemBits } = made as ConstraintSet;
        return [live.leafBits, live.nodeBits, live.rootMask, sharedItemBits];
      },
      faultOf: (made) =>
        faultOfItems(rule, attributes, (item) => setHasItem(leafItems, made as ConstraintSet, item)),
      bytesOf: (made) => setByteLength(made as ConstraintSet),
    }),
  );
  const rivals = await timeTasks(tasks, tasks[0].name, context);
  return resultOf(one, { leaves: trie.leafCount }, rivals);
}

function resultOf(
  { axis, at, rule, itemCount, seed }: RuleCase,
  more: Record<string, number | string>,
  rivals: CaseResult['rivals'],
): CaseResult {
  const parameters = { items: itemCount, rule: rule.cel, predicates: rule.attributes.length, seed, ...more };
  return { suite: 'rules', axis, at, parameters, rivals };
}
