import type { CudaFinding, CudaMemory, DeviceReport, Kernel } from '../kernels/index.js';

export const cudaStates = ['off', 'absent', 'unusable', 'ready', 'running', 'failed'] as const;
export type CudaState = (typeof cudaStates)[number];

/** Of what an engine holds of a device; `staging` is pinned host memory. */
export const deviceMemoryKinds = ['trie', 'set', 'exclusion', 'scratch', 'staging'] as const;
export type DeviceMemoryKind = (typeof deviceMemoryKinds)[number];

/** Which kernels run, as health and metrics say it; asked for whenever somebody asks. */
export class KernelFacts {
  readonly name: string;
  readonly #stepName: string;
  readonly #cuda: CudaFinding;
  readonly #reports: () => readonly DeviceReport[];

  /** @param reports of the decode engines that have a device */
  constructor(
    { name, stepName }: Pick<Kernel, 'name' | 'stepName'>,
    cuda: CudaFinding,
    reports: () => readonly DeviceReport[],
  ) {
    this.name = name;
    this.#stepName = stepName;
    this.#cuda = cuda;
    this.#reports = reports;
  }

  /** What runs the decode step; of engines that differ, all. */
  get stepNames(): string[] {
    const names = [...new Set(this.#reports().map(({ stepName }) => stepName))].sort();
    return names.length > 0 ? names : [this.#stepName];
  }

  /** Of engines that differ, the one that somebody should look at. */
  get cuda(): { state: CudaState; message: string; deviceName: string } {
    const { state, message, device } = this.#cuda;
    const deviceName = device?.name ?? '';
    if (state !== 'usable') return { state, message, deviceName };
    const worst = [...this.#reports()].sort((a, b) => urgencyOf(b) - urgencyOf(a)).at(0);
    return { state: worst?.state ?? 'ready', message: worst?.message ?? message, deviceName };
  }

  /** Of all engines together. */
  get deviceBytes(): Record<DeviceMemoryKind, number> {
    const memories = this.#reports().flatMap(({ memory }) => memory ?? []);
    const sum = (kind: DeviceMemoryKind) =>
      memories.reduce((bytes, memory) => bytes + memory[`${kind}Bytes` satisfies keyof CudaMemory], 0);
    return Object.fromEntries(deviceMemoryKinds.map((kind) => [kind, sum(kind)])) as Record<
      DeviceMemoryKind,
      number
    >;
  }
}

function urgencyOf({ state, isProblem }: DeviceReport): number {
  return cudaStates.indexOf(state) + (isProblem ? cudaStates.length : 0);
}
