import { chooseKernel, findCudaFor } from '../src/kernels/index.js';
import { answerDifference, goldenQueries, retailEngine } from '../test/helpers/compare-decodes.js';
import { buildRetailCatalog } from '../test/helpers/retail.js';
import { median } from './harness/statistics.js';

/**
 * The retail demo decoded on a GPU and on the CPU: the same answers? and how long the steps take, with the model's
 * logits in host memory. Exits with 1 where an answer differs; native/cuda/check-node.sh runs it.
 */
const rounds = Number(process.env.ROUNDS ?? 20);

const { path } = await buildRetailCatalog();
const kernels = [chooseKernel('cuda', 1, findCudaFor('cuda')), chooseKernel('native', 1)];
const engines = await Promise.all(kernels.map((kernel) => retailEngine(kernel, path)));
const requestCount = goldenQueries().length;
let differences = 0;
for (let index = 0; index < requestCount; index++) {
  // Anew each time: requests have a deadline.
  const one = goldenQueries()[index];
  const [found, expected] = [await engines[0].recommend(one), await engines[1].recommend(one)];
  const difference = answerDifference(found, expected);
  if (difference === null) continue;
  differences++;
  console.error(`request ${index}: ${difference}`);
}
const { state, message } = kernels[0].device!.report();
console.log(`answers    ${requestCount - differences} of ${requestCount} requests alike`);
console.log(`device     ${state}: ${message}`);
for (const [index, engine] of engines.entries()) {
  const stepUs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const one of goldenQueries()) {
      const { report } = await engine.recommendBatch([one]);
      stepUs.push(...report.constraintStepMs.map((ms) => ms * 1000));
    }
  }
  console.log(
    `a step     ${median(stepUs).toFixed(1)} µs, median of ${stepUs.length}: ${kernels[index].stepName}`,
  );
}
for (const engine of engines) await engine.close();
// A device that failed has answered nothing here.
process.exitCode = differences === 0 && state === 'running' ? 0 : 1;
