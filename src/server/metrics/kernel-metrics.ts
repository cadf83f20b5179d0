import { Gauge, type Registry } from 'prom-client';
import { deviceMemoryKinds, type KernelFacts } from '../kernel-facts.js';

/** Which kernels run, and what they hold of a GPU. */
export function registerKernelMetrics(registry: Registry, kernel: KernelFacts): void {
  const registers = [registry];
  new Gauge({
    name: 'espalier_kernel_info',
    help: 'Always 1; the labels name the kernels that run: builds, sets and rules, and the decode step.',
    labelNames: ['kernel', 'step'],
    registers,
    collect() {
      this.reset();
      for (const step of kernel.stepNames) this.set({ kernel: kernel.name, step }, 1);
    },
  });
  new Gauge({
    name: 'espalier_cuda_info',
    help: 'Always 1; the labels say how CUDA stands and on which device: off, absent, unusable, ready, running or failed.',
    labelNames: ['state', 'device'],
    registers,
    collect() {
      this.reset();
      const { state, deviceName } = kernel.cuda;
      this.set({ state, device: deviceName }, 1);
    },
  });
  new Gauge({
    name: 'espalier_cuda_bytes',
    help: 'What all decode engines hold of the GPU, by what it is for; staging is pinned host memory.',
    labelNames: ['kind'],
    registers,
    collect() {
      const bytes = kernel.deviceBytes;
      for (const kind of deviceMemoryKinds) this.set({ kind }, bytes[kind]);
    },
  });
}
