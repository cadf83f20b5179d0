import { availableParallelism } from 'node:os';
import { EspalierError } from '../errors.js';
import { chooseHostKernel, type KernelChoice } from '../kernels/index.js';
import { type BuiltTrie, buildStaticTrie, type SidRows } from './build.js';
import { childMaskBudget } from './child-masks.js';
import type { Progress } from './progress.js';

export interface BuildOptions {
  /** How many threads the native builder may take, by default all; the js builder takes one. */
  threads?: number | undefined;
  onProgress?: Progress | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Builds a static trie with the chosen kernel's builder: the native one works on other threads, the js one on
 * this.
 * @throws EspalierError ESP_SHAPE on rows that don't fit the codebooks, ESP_CANCELLED once the signal is aborted
 */
export async function buildTrie(
  rows: SidRows,
  { threads = availableParallelism(), onProgress, signal }: BuildOptions = {},
  { buildNatively }: Pick<KernelChoice, 'buildNatively'> = chooseHostKernel(),
): Promise<BuiltTrie> {
  onProgress?.('building', 0);
  let built: BuiltTrie;
  if (buildNatively === null) {
    if (signal?.aborted) throw new EspalierError('ESP_CANCELLED', 'the build was cancelled');
    built = buildStaticTrie(rows);
  } else {
    const maskBudgetBytes = childMaskBudget(rows.rowCount);
    built = await buildNatively(rows, { threads, maskBudgetBytes, onProgress, signal });
  }
  onProgress?.('building', 1);
  return built;
}
