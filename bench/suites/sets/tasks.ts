import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { intervalOfMedian, median, quantile } from '../../harness/statistics.js';
import type { CaseContext, RivalResult, Size } from '../../harness/types.js';

/** Something that is done again and again, by one way of doing it. */
export interface Task {
  name: string;
  kind: RivalResult['kind'];
  run(): unknown;
  /** What of the result is compared with the others'. */
  resultOf(result: unknown): readonly (Uint32Array | Uint16Array | Int32Array)[];
  bytesOf?(result: unknown): number;
}

const effort: Record<Size, { budgetMs: number; least: number; most: number }> = {
  small: { budgetMs: 0, least: 3, most: 3 },
  quick: { budgetMs: 300, least: 3, most: 100 },
  full: { budgetMs: 3000, least: 5, most: 300 },
};

/**
 * Runs tasks by turns, once all have been checked to come to the same.
 * @param yardstick whose time the others' is compared with
 * @param areEqual false where results are of different kinds
 */
export async function timeTasks(
  tasks: readonly Task[],
  yardstick: string,
  { options, say, signal }: CaseContext,
  areEqual = true,
): Promise<RivalResult[]> {
  const { budgetMs, least, most } = effort[options.size];
  const results: RivalResult[] = [];
  const firstMs: number[] = [];
  for (const task of tasks) {
    say(`checking ${task.name}`);
    const start = performance.now();
    const made = await task.run();
    firstMs.push(performance.now() - start);
    const hash = createHash('sha256');
    for (const { buffer, byteOffset, byteLength } of task.resultOf(made)) {
      hash.update(new Uint8Array(buffer, byteOffset, byteLength));
    }
    const result: RivalResult = {
      name: task.name,
      kind: task.kind,
      status: 'timed',
      resultHash: hash.digest('hex').slice(0, 16),
    };
    if (!areEqual) result.isApproximate = true;
    if (task.bytesOf) result.extras = { bytes: { value: task.bytesOf(made), unit: 'bytes' } };
    results.push(result);
    if (!areEqual || result.resultHash === results[0].resultHash) continue;
    Object.assign(result, { status: 'failed', reason: `it comes to something else than ${tasks[0].name}` });
  }
  const running = tasks.map((_, index) => index).filter((index) => results[index].status === 'timed');
  say(`timing ${running.length} ways`);
  const round = running.reduce((sum, index) => sum + firstMs[index], 0);
  const turns = Math.max(least, Math.min(most, Math.floor(budgetMs / round)));
  const times = tasks.map((): number[] => []);
  for (let turn = 0; turn < turns; turn++) {
    for (let place = 0; place < running.length; place++) {
      await setImmediate();
      signal.throwIfAborted();
      const index = running[(place + turn) % running.length];
      const start = process.hrtime.bigint();
      await tasks[index].run();
      times[index].push(Number(process.hrtime.bigint() - start) / 1000);
    }
  }
  const other = running.find((index) => tasks[index].name === yardstick);
  for (const index of running) {
    const taken = times[index];
    Object.assign(results[index], {
      unit: 'us',
      spread: {
        p50: median(taken),
        p95: quantile(taken, 0.95),
        p99: quantile(taken, 0.99),
        max: Math.max(...taken),
        samples: taken.length,
      },
    });
    if (other === undefined || other === index) continue;
    const ratios = taken.map((time, turn) => time / times[other][turn]);
    results[index].ratioTo = { [yardstick]: intervalOfMedian(ratios) };
  }
  return results;
}
