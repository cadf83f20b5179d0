import type { DeviceReport, StepDevice } from '../kernels/index.js';

/** Asking a device what it holds takes a call of its driver: batches do so no more often. */
const EVERY_MS = 1_000;

/** Tells how a device stands whenever that has changed. */
export class DeviceWatch {
  readonly #device: StepDevice | undefined;
  readonly #tell: (report: DeviceReport) => void;
  #told = '';
  #lookedAtMs = Number.NEGATIVE_INFINITY;

  constructor(device: StepDevice | undefined, tell: (report: DeviceReport) => void) {
    this.#device = device;
    this.#tell = tell;
  }

  look(): void {
    if (this.#device === undefined) return;
    this.#lookedAtMs = performance.now();
    const report = this.#device.report();
    // What is free on it changes with every other process, and is not this engine's.
    const key = JSON.stringify({ ...report, memory: { ...report.memory, freeBytes: 0 } });
    if (key === this.#told) return;
    this.#told = key;
    this.#tell(report);
  }

  lookSometimes(): void {
    if (performance.now() - this.#lookedAtMs >= EVERY_MS) this.look();
  }
}
