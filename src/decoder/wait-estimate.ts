/** How far a new batch moves the averages: a change of load shows after about ten. */
const WEIGHT = 0.1;

interface ModelLoad {
  /** Of requests that wait or are decoded. */
  rows: number;
  /** Moving averages; 0 until a batch has ended. */
  msPerRow: number;
  batchMs: number;
}

/** Guesses, from what batches took lately, when a request that comes now would have its answer. */
export class WaitEstimate {
  readonly #models = new Map<string, ModelLoad>();

  /** A request has come. */
  add(model: string, rows: number): void {
    this.#of(model).rows += rows;
  }

  /** A request has its answer, or does not get one. */
  remove(model: string, rows: number): void {
    this.#of(model).rows -= rows;
  }

  /** A batch took so long. */
  record(model: string, rows: number, tookMs: number): void {
    const load = this.#of(model);
    load.msPerRow = average(load.msPerRow, tookMs / rows);
    load.batchMs = average(load.batchMs, tookMs);
  }

  /** How long engines will be busy with what is there. */
  backlogMs(engineCount: number): number {
    let sumMs = 0;
    for (const { rows, msPerRow } of this.#models.values()) sumMs += rows * msPerRow;
    return sumMs / Math.max(1, engineCount);
  }

  /** How long a batch of this model takes. */
  batchMs(model: string): number {
    return this.#models.get(model)?.batchMs ?? 0;
  }

  #of(model: string): ModelLoad {
    let load = this.#models.get(model);
    if (load === undefined) {
      load = { rows: 0, msPerRow: 0, batchMs: 0 };
      this.#models.set(model, load);
    }
    return load;
  }
}

function average(before: number, next: number): number {
  return before === 0 ? next : before * (1 - WEIGHT) + next * WEIGHT;
}
