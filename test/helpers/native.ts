import {
  chooseKernel,
  jsSets,
  type Kernel,
  type KernelChoice,
  type SetAlgebra,
  usableLevels,
} from '../../src/kernels/index.js';

/** The native kernels that can run here, one for each instruction set; none where the addon was not built. */
export const nativeKernels: KernelChoice[] = usableLevels().map(({ name }) => chooseKernel(name));

export const everySetAlgebra: { name: string; sets: SetAlgebra }[] = [
  { name: 'js', sets: jsSets },
  ...nativeKernels,
];

/** Why tests of the native kernels are skipped, or undefined where they run. */
export const noNative: string | undefined =
  nativeKernels.length === 0 ? 'the native addon has not been built here' : undefined;

/** The native steps that can run here, each on one thread and shared by two. */
export const nativeSteps: { name: string; threads: number; step: Kernel['step'] }[] = usableLevels().flatMap(
  ({ name }) => [1, 2].map((threads) => ({ name, threads, step: chooseKernel(name, threads).step })),
);
