import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type ErrorCode, EspalierError } from '../../errors.js';
import type { StepBatch } from '../step-batch.js';
import type { LeafItems, LiveLeaves, Logits, TrieArrays } from '../types.js';

/*
 * The native addon's contract (native/binding). Bit arrays are Uint32Arrays of whole 64-bit words that start at
 * a multiple of 8 bytes; outputs are the caller's and are overwritten. Arrays are borrowed for the call, those
 * of a build until its promise settles. Only this file loads a `.node`.
 */

/** Opaque, and known by its kind: a handle of another kind is refused. */
export type TrieHandle = { readonly trieHandle: unique symbol };
export type ConstraintHandle = { readonly constraintHandle: unique symbol };
export type StepperHandle = { readonly stepperHandle: unique symbol };
export type BatchHandle = { readonly batchHandle: unique symbol };
export type CudaContextHandle = { readonly cudaContextHandle: unique symbol };
export type CudaTrieHandle = { readonly cudaTrieHandle: unique symbol };
export type CudaSetHandle = { readonly cudaSetHandle: unique symbol };
export type CudaConstraintHandle = { readonly cudaConstraintHandle: unique symbol };
export type CudaStepperHandle = { readonly cudaStepperHandle: unique symbol };
export type CudaBatchHandle = { readonly cudaBatchHandle: unique symbol };
export type BuildJob = { readonly buildJob: unique symbol };
export type RowCodes = Uint8Array | Uint16Array | Uint32Array | Int32Array | BigInt64Array;

/** What a build made; each array in an ArrayBuffer of its own. */
export interface BuiltArrays {
  leafCount: number;
  rows: ArrayBuffer;
  newPrefix: ArrayBuffer[];
  topLevels: { codes: ArrayBuffer; leafStart: ArrayBuffer; firstChild?: ArrayBuffer }[];
  childMasks?: { nodes: ArrayBuffer; bits: ArrayBuffer; ranks: ArrayBuffer };
  sortedRows: ArrayBuffer;
  sharedLeaves: ArrayBuffer;
  sharedStart: ArrayBuffer;
}

/** A GPU and its driver; versions as CUDA counts them (12040 is 12.4), 0 where there is none. */
export interface CudaDevice {
  name: string;
  computeMajor: number;
  computeMinor: number;
  multiprocessorCount: number;
  driverVersion: number;
  runtimeVersion: number;
  totalBytes: number;
  freeBytes: number;
}

/** Bytes of one context on its device by what they are for; staging is pinned host memory. */
export interface CudaMemory {
  trieBytes: number;
  setBytes: number;
  exclusionBytes: number;
  scratchBytes: number;
  stagingBytes: number;
  /** Of the whole device. */
  totalBytes: number;
  freeBytes: number;
}

export interface Addon {
  /** The instruction sets that this build has and this machine can run, the best last. */
  levels(): { name: string; level: number }[];
  mapFile(file: number, offset: number, length: number): ArrayBuffer;
  startBuild(
    codes: RowCodes,
    codebookSizes: Uint32Array,
    rowCount: number,
    threads: number,
    level: number,
    maskBudgetBytes: number,
  ): { job: BuildJob; trie: Promise<TrieHandle> };
  buildProgress(job: BuildJob): { phase: number; fraction: number };
  cancelBuild(job: BuildJob): void;
  /** To be called once for each trie. */
  builtArrays(trie: TrieHandle): BuiltArrays;
  /** Copies arrays that this addon has not made itself. */
  attachTrie(trie: TrieArrays): TrieHandle;
  disposeTrie(trie: TrieHandle): void;
  trieByteSize(trie: TrieHandle): number;
  combineBits(level: number, operation: number, a: Uint32Array, b: Uint32Array, out: Uint32Array): void;
  countBits(level: number, bits: Uint32Array, bitCount: number): number;
  deriveSet(
    level: number,
    trie: TrieHandle,
    leafBits: Uint32Array,
    rootMask: Uint32Array,
    nodeBits: Uint32Array,
  ): void;
  countLiveNodes(level: number, trie: TrieHandle, leafBits: Uint32Array, out: Float64Array): void;
  itemStarts(leafItems: LeafItems, starts: Uint32Array): void;
  setFromItems(
    level: number,
    leafItems: LeafItems,
    starts: Uint32Array | null,
    itemBits: Uint32Array,
    leafBits: Uint32Array,
    sharedItemBits: Uint32Array,
  ): void;
  settleSharedLeaves(leafItems: LeafItems, sharedItemBits: Uint32Array, leafBits: Uint32Array): number;
  prepareExclusions(
    leafItems: LeafItems,
    excluded: Uint32Array,
    leafBits: Uint32Array | null,
    sharedItemBits: Uint32Array | null,
    deadLeaves: Uint32Array,
  ): { deadCount: number; inSet: number };
  scan(
    level: number,
    threads: number,
    leaves: readonly unknown[],
    postfix: Int32Array,
    itemCount: number,
    out: Uint32Array,
  ): void;
  /** The set's arrays are borrowed as long as the handle lives. */
  createConstraint(
    trie: TrieHandle,
    live: LiveLeaves | null,
    deadLeaves: Uint32Array | null,
  ): ConstraintHandle;
  createStepper(level: number, threads: number): StepperHandle;
  /** The batch's arrays are borrowed as long as the handle lives. */
  bindBatch(batch: StepBatch): BatchHandle;
  /** What each of the batch's requests may reach, in the steps to come. */
  setConstraints(batch: BatchHandle, constraints: readonly ConstraintHandle[]): void;
  step(
    stepper: StepperHandle,
    batch: BatchHandle,
    depth: number,
    logits: Logits,
    vocabSize: number,
    tokens: number | Uint32Array,
  ): void;
  logSumExp(stepper: StepperHandle, logits: Float32Array, vocabSize: number, out: Float32Array): void;
  /**
   * Loads a CUDA library and asks for a device; `reason` is null where it can run steps. A broken driver may end the
   * process. The functions below need the same library, and throw where it cannot be loaded.
   */
  cudaProbe(path: string, device: number): { abi: number; reason: string | null; device: CudaDevice };
  cudaOpen(path: string, device: number): CudaContextHandle;
  cudaMemory(context: CudaContextHandle): CudaMemory;
  /** Copies the trie to the device on another thread, beside running steps. */
  cudaUploadTrie(context: CudaContextHandle, trie: TrieHandle): Promise<CudaTrieHandle>;
  cudaUploadTrieNow(context: CudaContextHandle, trie: TrieHandle): CudaTrieHandle;
  cudaTrieBytes(trie: CudaTrieHandle): number;
  cudaUploadSet(trie: CudaTrieHandle, live: LiveLeaves): CudaSetHandle;
  cudaCreateConstraint(
    trie: CudaTrieHandle,
    set: CudaSetHandle | null,
    deadLeaves: Uint32Array | null,
  ): CudaConstraintHandle;
  cudaCreateStepper(context: CudaContextHandle): CudaStepperHandle;
  /** As `bindBatch`. */
  cudaBindBatch(batch: StepBatch): CudaBatchHandle;
  cudaSetConstraints(batch: CudaBatchHandle, constraints: readonly CudaConstraintHandle[]): void;
  cudaStep(
    stepper: CudaStepperHandle,
    batch: CudaBatchHandle,
    depth: number,
    logits: Logits,
    vocabSize: number,
    tokens: number | Uint32Array,
  ): void;
  /** Frees what a handle holds of the device, a trie's sets and constraints along with it; again does nothing. */
  cudaDispose(
    handle: CudaContextHandle | CudaTrieHandle | CudaSetHandle | CudaConstraintHandle | CudaStepperHandle,
  ): void;
}

/** esp_status, in its order; 0 is success. */
const statusCodes: readonly ErrorCode[] = [
  'ESP_INTERNAL',
  'ESP_SHAPE',
  'ESP_MEMORY',
  'ESP_SYSTEM',
  'ESP_CANCELLED',
  'ESP_KERNEL_UNKNOWN',
  'ESP_INTERNAL',
];

/** A failure of the addon's as an error of ours; anything else as it is. */
export function nativeError(thrown: unknown): unknown {
  const { status, message } = (thrown ?? {}) as { status?: unknown; message?: string };
  if (typeof status !== 'number') return thrown;
  return new EspalierError(statusCodes[status] ?? 'ESP_INTERNAL', message ?? 'the native addon failed');
}

/** Calls the addon. @throws EspalierError as the status says */
export function callNative<Result>(call: () => Result): Result {
  try {
    return call();
  } catch (thrown) {
    throw nativeError(thrown);
  }
}

interface Loaded {
  addon: Addon | null;
  /** Why there is none. */
  reason: string;
}

/** Where the build puts it. */
export const addonPath = fileURLToPath(new URL('../../../build/Release/espalier.node', import.meta.url));

let loaded: Loaded | undefined;

/** The addon, or why there is none: it is built at install where there is a compiler, and never needed. */
export function loadAddon(): Loaded {
  loaded ??= load();
  return loaded;
}

function load(): Loaded {
  try {
    return {
      addon: createRequire(import.meta.url)(addonPath) as Addon,
      reason: '',
    };
  } catch (thrown) {
    const { code, message } = thrown as { code?: string; message: string };
    const reason =
      code === 'MODULE_NOT_FOUND'
        ? 'the native addon has not been built; `npm rebuild` builds it where there is a C++ compiler'
        : `the native addon could not be loaded: ${message.split('\n')[0]}`;
    return { addon: null, reason };
  }
}

/** Threads that a scan may take; a build takes as many as it is told. */
export const nativeThreads = availableParallelism();
