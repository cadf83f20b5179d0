import { createHash } from 'node:crypto';
import { type Contender, runContest } from '../../harness/contest.js';
import type { CaseContext, RivalResult, Size } from '../../harness/types.js';

/** Something that is done again and again, by one way of doing it. */
export interface Task {
  name: string;
  kind: RivalResult['kind'];
  run(): unknown;
  /** What of the result is compared with the others'; floors have nothing to compare. */
  resultOf?(result: unknown): readonly (Uint32Array | Uint16Array | Int32Array)[];
  /** What is wrong with the result, by what is known without the others. */
  faultOf?(result: unknown): string | undefined;
  bytesOf?(result: unknown): number;
}

const effort: Record<Size, { budgetMs: number; least: number; most: number }> = {
  small: { budgetMs: 0, least: 3, most: 3 },
  quick: { budgetMs: 300, least: 3, most: 100 },
  full: { budgetMs: 3000, least: 7, most: 300 },
};

/**
 * Runs tasks by turns, once all have been checked to come to the same as the first one.
 * @param yardstick whose time the others' is compared with
 * @param areEqual false where results are of different kinds
 */
export function timeTasks(
  tasks: readonly Task[],
  yardstick: string,
  { options, say, signal }: CaseContext,
  areEqual = true,
): Promise<RivalResult[]> {
  const { budgetMs, least, most } = effort[options.size];
  let common: string | undefined;
  let roundMs = 0;
  const contenders = tasks.map(({ name, kind, run, resultOf, faultOf, bytesOf }): Contender => {
    return {
      name,
      kind,
      isApproximate: !areEqual,
      async verify() {
        const start = performance.now();
        const made = await run();
        roundMs += performance.now() - start;
        const wrong = faultOf?.(made);
        if (wrong !== undefined) return { fault: wrong };
        if (resultOf === undefined) return {};
        const hash = hashOf(resultOf(made));
        common ??= hash;
        return {
          hash,
          ...(areEqual && hash !== common && { fault: `it comes to something else than ${tasks[0].name}` }),
          ...(bytesOf && { extras: { bytes: { value: bytesOf(made), unit: 'bytes' as const } } }),
        };
      },
      run,
    };
  });
  const turns = () => Math.max(least, Math.min(most, Math.floor(budgetMs / roundMs)));
  return runContest(contenders, { unit: 'us', warmUp: 0, turns, yardsticks: [yardstick], signal, say });
}

function hashOf(parts: ReturnType<NonNullable<Task['resultOf']>>): string {
  const hash = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of parts) {
    hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  return hash.digest('hex').slice(0, 16);
}
