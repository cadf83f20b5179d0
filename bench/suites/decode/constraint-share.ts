import type { Model } from '../../../src/decoder/model.js';
import type { Constraint, Kernel, KernelChoice } from '../../../src/kernels/index.js';
import { intervalOfMedian, median } from '../../harness/statistics.js';
import type { RivalResult } from '../../harness/types.js';
import { type DecodeRequest, ourDecoder } from './decoder.js';

export interface ShareOptions {
  model: Model;
  kernel: KernelChoice;
  beamWidth: number;
  constraintOf: (request: DecodeRequest) => Constraint;
  /** In turns. */
  requests: readonly DecodeRequest[];
  decodes: number;
  warmUp: number;
  signal: AbortSignal;
}

/**
 * How much of a decode the constraint takes: its steps, and what is prepared for the request alone, less the logSumExp
 * of the same logits, which beam search without a constraint needs as well. The floor runs by turns before and after
 * the step, so that neither always finds the logits warm; its time is taken out of the decode's.
 * @returns undefined where the kernel has no logSumExp of its own
 */
export async function measureShare({
  model,
  kernel,
  beamWidth,
  constraintOf,
  requests,
  decodes,
  warmUp,
  signal,
}: ShareOptions): Promise<NonNullable<RivalResult['extras']> | undefined> {
  const { logSumExpRows } = kernel;
  if (logSumExpRows === null) return undefined;
  const normalizers = new Float32Array(beamWidth);
  const spent = { stepUs: 0, floorUs: 0, prepareUs: 0, isFloorFirst: false };
  const watched: Kernel = {
    ...kernel,
    step(batch, input) {
      const rows = batch.beamCounts[0];
      const logits = (input.logits as Float32Array).subarray(0, rows * input.vocabSize);
      const floor = () => logSumExpRows(logits, input.vocabSize, normalizers.subarray(0, rows));
      if (spent.isFloorFirst) spent.floorUs += timeUs(floor);
      spent.stepUs += timeUs(() => kernel.step(batch, input));
      if (!spent.isFloorFirst) spent.floorUs += timeUs(floor);
    },
  };
  const decode = ourDecoder(model, watched, beamWidth, (request) => {
    let constraint: Constraint | undefined;
    spent.prepareUs += timeUs(() => {
      constraint = constraintOf(request);
    });
    return constraint!;
  });
  const found: { decodeUs: number; stepUs: number; constraintUs: number }[] = [];
  for (let turn = -warmUp; turn < decodes; turn++) {
    signal.throwIfAborted();
    Object.assign(spent, { stepUs: 0, floorUs: 0, prepareUs: 0, isFloorFirst: turn % 2 === 0 });
    const start = process.hrtime.bigint();
    await decode(requests[(turn + warmUp) % requests.length]);
    const decodeUs = Number(process.hrtime.bigint() - start) / 1000 - spent.floorUs;
    const { stepUs, floorUs, prepareUs } = spent;
    if (turn >= 0) found.push({ decodeUs, stepUs, constraintUs: stepUs + prepareUs - floorUs });
  }
  const share = intervalOfMedian(found.map(({ constraintUs, decodeUs }) => constraintUs / decodeUs));
  return {
    'constraint share': { value: share.median, unit: 'share' },
    ...(share.low !== undefined && { 'constraint share, low': { value: share.low, unit: 'share' } }),
    ...(share.high !== undefined && { 'constraint share, high': { value: share.high, unit: 'share' } }),
    constraint: { value: median(found.map(({ constraintUs }) => constraintUs)), unit: 'us' },
    steps: { value: median(found.map(({ stepUs }) => stepUs)), unit: 'us' },
  };
}

function timeUs(run: () => void): number {
  const start = process.hrtime.bigint();
  run();
  return Number(process.hrtime.bigint() - start) / 1000;
}
