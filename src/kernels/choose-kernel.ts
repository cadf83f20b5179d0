import { EspalierError } from '../errors.js';
import { CudaSteps } from './cuda/cuda-steps.js';
import { type CudaFinding, cudaOff, findCuda } from './cuda/find-cuda.js';
import { createJsKernel } from './js-kernel.js';
import type { Kernel } from './kernel.js';
import { type Addon, loadAddon } from './native/addon.js';
import { createNativeBuild, type NativeBuild } from './native/native-build.js';
import { createNativeScan } from './native/native-scan.js';
import { createNativeSets } from './native/native-sets.js';
import { createNativeLogSumExp, createNativeStep, type LogSumExpRows } from './native/native-step.js';

const nativeNames = ['scalar', 'neon', 'avx2', 'avx512'];
const names = ['auto', 'js', 'native', ...nativeNames, 'cuda'];

export interface KernelChoice extends Kernel {
  /** The native builder, at the kernel's instruction set; null where js runs. */
  readonly buildNatively: NativeBuild | null;
  /** The floor of a native step, for benchmarks; null where js runs. */
  readonly logSumExpRows: LogSumExpRows | null;
}

interface Choice {
  wanted: string | undefined;
  stepThreads: number;
  cuda: CudaFinding | undefined;
  kernel: KernelChoice;
}

let chosen: Choice | undefined;
let chosenHost: Pick<Choice, 'wanted' | 'kernel'> | undefined;

/**
 * The kernel that `ESPALIER_KERNELS` names, or the best there is: `js`, `native` (the machine's best instruction
 * set), one instruction set, or `cuda`: the decode step on a GPU, and everything else native.
 * @throws EspalierError ESP_KERNEL_UNKNOWN on any other name, and on one that cannot run here: a typing error must
 *   not change what runs.
 * @param stepThreads threads that a native step may take, the caller's among them
 * @param cuda what the process has found; without it a GPU is looked for only where `cuda` is asked for
 */
export function chooseKernel(
  wanted: string | undefined = process.env.ESPALIER_KERNELS,
  stepThreads = 1,
  cuda?: CudaFinding,
): KernelChoice {
  if (chosen?.wanted !== wanted || chosen?.stepThreads !== stepThreads || chosen?.cuda !== cuda) {
    chosen = { wanted, stepThreads, cuda, kernel: create(wanted || 'auto', stepThreads, cuda) };
  }
  return chosen!.kernel;
}

/** What builds, derives sets and scans: never on a GPU, so nobody looks for one. */
export function chooseHostKernel(
  wanted: string | undefined = process.env.ESPALIER_KERNELS,
): Omit<KernelChoice, 'stepName' | 'step' | 'device'> {
  if (chosenHost === undefined || chosenHost.wanted !== wanted) {
    chosenHost = { wanted, kernel: create(wanted === 'cuda' ? 'native' : wanted || 'auto', 1, undefined) };
  }
  return chosenHost.kernel;
}

/** Looks for a GPU, where `ESPALIER_KERNELS` allows one. */
export function findCudaFor(wanted: string | undefined = process.env.ESPALIER_KERNELS): CudaFinding {
  const name = wanted || 'auto';
  return name === 'auto' || name === 'cuda' ? findCuda() : cudaOff(`ESPALIER_KERNELS is ${name}`);
}

/** The instruction sets that can run here, the best last. */
export function usableLevels(): { name: string; level: number }[] {
  return loadAddon().addon?.levels() ?? [];
}

function create(name: string, stepThreads: number, cuda: CudaFinding | undefined): KernelChoice {
  if (!names.includes(name)) {
    throw unknown(`ESPALIER_KERNELS must be one of ${names.join(', ')}, found "${name}"`);
  }
  const { addon, reason } = loadAddon();
  if (name === 'js' || (name === 'auto' && addon === null)) {
    return { ...createJsKernel(), buildNatively: null, logSumExpRows: null };
  }
  if (addon === null) throw unknown(`ESPALIER_KERNELS is ${name}, but ${reason}`);
  if (name === 'cuda') return createForcedCuda(addon, stepThreads, cuda ?? findCuda());
  const native = createNative(addon, name, stepThreads);
  return name === 'auto' && cuda?.state === 'usable' ? withCuda(addon, native, cuda, false) : native;
}

function createNative(addon: Addon, name: string, stepThreads: number): KernelChoice {
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

/** @param cuda `off`: whoever asks wants nothing of the GPU, although the process may use it */
function createForcedCuda(addon: Addon, stepThreads: number, cuda: CudaFinding): KernelChoice {
  const native = createNative(addon, 'native', stepThreads);
  if (cuda.state === 'off') return native;
  if (cuda.state !== 'usable') throw unknown(`ESPALIER_KERNELS is cuda, but ${cuda.message}`);
  return withCuda(addon, native, cuda, true);
}

function withCuda(addon: Addon, host: KernelChoice, cuda: CudaFinding, isForced: boolean): KernelChoice {
  const { library, device: found } = cuda;
  const device = new CudaSteps({ addon, library: library!, deviceName: found!.name, host, isForced });
  return {
    ...host,
    get stepName() {
      return device.stepName;
    },
    step: (batch, input) => device.step(batch, input),
    device,
  };
}

function unknown(message: string): EspalierError {
  return new EspalierError('ESP_KERNEL_UNKNOWN', message);
}
