import { EspalierError } from '../errors.js';
import { createJsKernel } from './js-kernel.js';
import type { Kernel } from './kernel.js';
import { loadAddon } from './native/addon.js';
import { createNativeBuild, type NativeBuild } from './native/native-build.js';
import { createNativeScan } from './native/native-scan.js';
import { createNativeSets } from './native/native-sets.js';
import { createNativeLogSumExp, createNativeStep, type LogSumExpRows } from './native/native-step.js';

const nativeNames = ['scalar', 'neon', 'avx2', 'avx512'];
const names = ['auto', 'js', 'native', ...nativeNames];

export interface KernelChoice extends Kernel {
  /** The native builder, at the kernel's instruction set; null where js runs. */
  readonly buildNatively: NativeBuild | null;
  /** The floor of a native step, for benchmarks; null where js runs. */
  readonly logSumExpRows: LogSumExpRows | null;
}

let chosen: { wanted: string | undefined; stepThreads: number; kernel: KernelChoice } | undefined;

/**
 * The kernel that `ESPALIER_KERNELS` names, or the best there is: `js`, `native` (the machine's best instruction
 * set) or one instruction set.
 * @throws EspalierError ESP_KERNEL_UNKNOWN on any other name, and on one that cannot run here: a typing error must
 *   not change what runs.
 * @param stepThreads threads that a native step may take, the caller's among them
 */
export function chooseKernel(
  wanted: string | undefined = process.env.ESPALIER_KERNELS,
  stepThreads = 1,
): KernelChoice {
  if (chosen?.wanted !== wanted || chosen?.stepThreads !== stepThreads) {
    chosen = { wanted, stepThreads, kernel: create(wanted || 'auto', stepThreads) };
  }
  return chosen!.kernel;
}

/** The instruction sets that can run here, the best last. */
export function usableLevels(): { name: string; level: number }[] {
  return loadAddon().addon?.levels() ?? [];
}

function create(name: string, stepThreads: number): KernelChoice {
  if (!names.includes(name)) {
    throw unknown(`ESPALIER_KERNELS must be one of ${names.join(', ')}, found "${name}"`);
  }
  const { addon, reason } = loadAddon();
  if (name === 'js' || (name === 'auto' && addon === null)) {
    return { ...createJsKernel(), buildNatively: null, logSumExpRows: null };
  }
  if (addon === null) throw unknown(`ESPALIER_KERNELS is ${name}, but ${reason}`);
  const levels = addon.levels();
  const isBest = name === 'auto' || name === 'native';
  const level = isBest ? levels[levels.length - 1] : levels.find((usable) => usable.name === name);
  if (level === undefined) {
    const usable = levels.map((one) => one.name).join(', ');
    throw unknown(`ESPALIER_KERNELS is ${name}, which this machine cannot run; it can run ${usable}`);
  }
  return {
    name: level.name,
    stepName: level.name,
    buildNatively: createNativeBuild(addon, level.level),
    sets: createNativeSets(addon, level.level),
    scan: createNativeScan(addon, level.level),
    logSumExpRows: createNativeLogSumExp(addon, level.level, stepThreads),
    step: createNativeStep(addon, level.level, stepThreads),
  };
}

function unknown(message: string): EspalierError {
  return new EspalierError('ESP_KERNEL_UNKNOWN', message);
}
