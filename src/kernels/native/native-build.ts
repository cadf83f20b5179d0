import { EspalierError } from '../../errors.js';
import type { LeafItems, TrieArrays } from '../types.js';
import { type Addon, type BuildJob, callNative, nativeError, type RowCodes } from './addon.js';
import { rememberHandle } from './trie-handle.js';

/** esp_phase, in its order. */
const phases = ['reading', 'sorting', 'writing'];
const PROGRESS_EVERY_MS = 100;

export interface NativeBuildOptions {
  threads: number;
  maskBudgetBytes: number;
  onProgress?: ((phase: string, fraction: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

export interface NativeRows {
  codebookSizes: readonly number[];
  rowCount: number;
  /** [rowCount, codebookSizes.length], left alone until the build has ended. */
  codes: RowCodes;
}

export interface NativelyBuilt {
  trie: TrieArrays;
  /** [rowCount]: the input rows in the order of their SIDs; equal SIDs keep the input's order. */
  sortedRows: Uint32Array;
  leafItems: LeafItems;
}

/**
 * Builds a trie on other threads; this one stays free.
 * @throws EspalierError ESP_SHAPE on rows that don't fit, ESP_MEMORY, ESP_CANCELLED once the signal is aborted
 */
export type NativeBuild = (rows: NativeRows, options: NativeBuildOptions) => Promise<NativelyBuilt>;

/** The builder at one instruction set, an esp_level. */
export function createNativeBuild(addon: Addon, level: number): NativeBuild {
  return (rows, options) => build(addon, level, rows, options);
}

async function build(
  addon: Addon,
  level: number,
  rows: NativeRows,
  { threads, maskBudgetBytes, onProgress, signal }: NativeBuildOptions,
): Promise<NativelyBuilt> {
  if (signal?.aborted) throw new EspalierError('ESP_CANCELLED', 'the build was cancelled');
  const { codebookSizes, rowCount, codes } = rows;
  const sizes = Uint32Array.from(codebookSizes);
  const { job, trie: promise } = callNative(() =>
    addon.startBuild(codes, sizes, rowCount, threads, level, maskBudgetBytes),
  );
  const stopWatching = watch(addon, job, onProgress, signal);
  try {
    const handle = await promise;
    const arrays = addon.builtArrays(handle);
    const isWide = codebookSizes.some((size) => size > 65_536);
    const codeArray = (buffer: ArrayBuffer) => (isWide ? new Uint32Array(buffer) : new Uint16Array(buffer));
    const masks = arrays.childMasks;
    const trie: TrieArrays = {
      leafCount: arrays.leafCount,
      levelCount: codebookSizes.length,
      codebookSizes,
      rows: codeArray(arrays.rows),
      newPrefix: arrays.newPrefix.map((buffer) => new Uint32Array(buffer)),
      topLevels: arrays.topLevels.map(({ codes, leafStart, firstChild }) => ({
        codes: codeArray(codes),
        leafStart: new Uint32Array(leafStart),
        firstChild: firstChild === undefined ? null : new Uint32Array(firstChild),
      })),
      childMasks: masks
        ? {
            nodes: new Uint32Array(masks.nodes),
            bits: new Uint32Array(masks.bits),
            ranks: new Uint32Array(masks.ranks),
          }
        : null,
    };
    rememberHandle(trie, handle);
    return {
      trie,
      sortedRows: new Uint32Array(arrays.sortedRows),
      leafItems: {
        itemCount: rowCount,
        leafCount: arrays.leafCount,
        sharedLeaves: new Uint32Array(arrays.sharedLeaves),
        sharedStart: new Uint32Array(arrays.sharedStart),
      },
    };
  } catch (thrown) {
    throw nativeError(thrown);
  } finally {
    stopWatching();
  }
}

/** Passes progress on and cancels the job when the signal says so; returns what ends that. */
function watch(
  addon: Addon,
  job: BuildJob,
  onProgress: NativeBuildOptions['onProgress'],
  signal: AbortSignal | undefined,
): () => void {
  const cancel = () => addon.cancelBuild(job);
  signal?.addEventListener('abort', cancel, { once: true });
  const timer =
    onProgress &&
    setInterval(() => {
      const { phase, fraction } = addon.buildProgress(job);
      onProgress(phases[phase], fraction);
    }, PROGRESS_EVERY_MS);
  return () => {
    signal?.removeEventListener('abort', cancel);
    clearInterval(timer);
  };
}
