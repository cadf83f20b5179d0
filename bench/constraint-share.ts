import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { attributes, readShoppers } from '../examples/online-retail/retail.js';
import { BatchSearch } from '../src/decoder/batch-search.js';
import { historyTokens } from '../src/decoder/history-tokens.js';
import { openModel } from '../src/decoder/model.js';
import { chooseKernel, type Kernel } from '../src/kernels/index.js';
import {
  compileRule,
  constraintSetFromItems,
  evaluateRule,
  openCatalogFile,
  sidOf,
} from '../src/static-trie/index.js';
import { buildRetailCatalog, modelFolder } from '../test/helpers/retail.js';
import { intervalOfMedian, median } from './harness/statistics.js';

/**
 * How much of a decode of the retail model the constraint takes: its steps less the logSumExp of the same logits, which
 * beam search without a constraint needs as well. Prefill and all steps of one request, one thread.
 */
const { values } = parseArgs({
  options: {
    model: { type: 'string', default: 'retail-shared-context' },
    decodes: { type: 'string', default: '400' },
    beam: { type: 'string', default: '50' },
    out: { type: 'string' },
  },
});

const kernel = chooseKernel(undefined, 1);
if (kernel.logSumExpRows === null)
  throw new Error('the native addon has not been built; npm run build:native');
const logSumExpRows = kernel.logSumExpRows;
const catalog = openCatalogFile((await buildRetailCatalog()).path);
const { trie, leafItems, table } = catalog;
const model = await openModel(modelFolder(values.model), 1);
const shoppers = await readShoppers();
const normalizers = new Float32Array(1024);
const spent = { stepUs: 0, floorUs: 0, isFloorFirst: false };

/** The kernel, with a watch; the floor by turns before and after it, so that neither always finds the logits warm. */
const watched: Kernel = {
  ...kernel,
  step(batch, input) {
    const rows = batch.beamCounts.subarray(0, batch.requestCount).reduce((sum, count) => sum + count, 0);
    const logits = (input.logits as Float32Array).subarray(0, rows * input.vocabSize);
    const floor = () => logSumExpRows(logits, input.vocabSize, normalizers.subarray(0, rows));
    if (spent.isFloorFirst) spent.floorUs += timeUs(floor);
    spent.stepUs += timeUs(() => kernel.step(batch, input));
    if (!spent.isFloorFirst) spent.floorUs += timeUs(floor);
  },
};
const search = new BatchSearch(watched);
const rule = compileRule('price < 2.0', attributes, {});
const set = constraintSetFromItems(trie, leafItems, evaluateRule(rule, table, 0));
const results = [];
for (const [what, live] of [
  ['the whole catalog', null],
  ['price < 2.0', set.live],
] as const) {
  const constraint = { trie, live, dead: null };
  const beamWidths = new Array<number>(trie.levelCount).fill(Number(values.beam));
  const decodes: { decodeUs: number; constraintUs: number; stepUs: number }[] = [];
  for (let turn = -50; turn < Number(values.decodes); turn++) {
    const { historyWithRepeats } = shoppers[(turn + 50) % shoppers.length];
    const history = historyWithRepeats.map((id) => sidOf(catalog, catalog.ids.find(id)));
    const tokens = historyTokens(model, history);
    Object.assign(spent, { stepUs: 0, floorUs: 0, isFloorFirst: turn % 2 === 0 });
    const startMs = performance.now();
    const [prefill] = await model.prefill([tokens]);
    const request = { constraint, prefill, beamWidths, normalize: 'vocabulary', temperature: 1 } as const;
    const { results: found } = await search.run(model, [{ ...request, fault: () => undefined }]);
    const decodeUs = (performance.now() - startMs) * 1000 - spent.floorUs;
    if (!('leaves' in found[0]) || found[0].leaves.length === 0) throw new Error('a decode found nothing');
    if (turn < 0) continue;
    decodes.push({ decodeUs, constraintUs: spent.stepUs - spent.floorUs, stepUs: spent.stepUs });
  }
  const share = intervalOfMedian(decodes.map(({ constraintUs, decodeUs }) => constraintUs / decodeUs));
  const of = (name: 'decodeUs' | 'constraintUs' | 'stepUs') => median(decodes.map((one) => one[name]));
  results.push({
    what,
    decodeUs: of('decodeUs'),
    stepUs: of('stepUs'),
    constraintUs: of('constraintUs'),
    share,
  });
  const percent = (value: number) => `${(value * 100).toFixed(3)} %`;
  console.log(
    `${what}: decode ${(of('decodeUs') / 1000).toFixed(2)} ms, steps ${of('stepUs').toFixed(1)} us, ` +
      `constraint ${of('constraintUs').toFixed(1)} us: ${percent(share.median)} ` +
      `(${percent(share.low)} to ${percent(share.high)})`,
  );
}
await model.close();
if (values.out !== undefined) {
  mkdirSync(dirname(values.out), { recursive: true });
  const machine = `${cpus().length} x ${cpus()[0].model}`;
  const head = { machine, node: process.version, kernel: kernel.stepName, ...values, out: undefined };
  writeFileSync(values.out, `${JSON.stringify({ ...head, results }, null, 2)}\n`);
}

function timeUs(run: () => void): number {
  const start = process.hrtime.bigint();
  run();
  return Number(process.hrtime.bigint() - start) / 1000;
}
