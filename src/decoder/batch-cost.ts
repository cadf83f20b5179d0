/** How far a new batch moves what is known: a change of load shows after about ten. */
const WEIGHT = 0.1;
/** Batches whose rows differ by less than this share of their mean tell too little of what a row costs. */
const SAME_ROWS = 0.1;

/** What is known of one model's batches: decayed sums. */
interface Sums {
  count: number;
  rows: number;
  ms: number;
  rowsSquared: number;
  rowsTimesMs: number;
}

/**
 * Guesses, from what batches took lately, how long one of so many rows takes: a line fitted through them. A batch costs
 * something however narrow it is, so that what narrow ones took, divided by their rows, would make wide ones look far
 * too long, and requests would be refused for nothing. Where all batches had equally many rows, the whole is taken as the
 * cost of any batch: if wider ones take longer, the first of them shows it.
 */
export class BatchCost {
  readonly #models = new Map<string, Sums>();

  /** A batch took so long. */
  record(model: string, rows: number, tookMs: number): void {
    const before = this.#models.get(model) ?? { count: 0, rows: 0, ms: 0, rowsSquared: 0, rowsTimesMs: 0 };
    const kept = 1 - WEIGHT;
    this.#models.set(model, {
      count: before.count * kept + 1,
      rows: before.rows * kept + rows,
      ms: before.ms * kept + tookMs,
      rowsSquared: before.rowsSquared * kept + rows * rows,
      rowsTimesMs: before.rowsTimesMs * kept + rows * tookMs,
    });
  }

  /** 0 until a batch of the model has ended. */
  batchMs(model: string, rows: number): number {
    const sums = this.#models.get(model);
    if (sums === undefined) return 0;
    const meanRows = sums.rows / sums.count;
    const meanMs = sums.ms / sums.count;
    const variance = sums.rowsSquared / sums.count - meanRows ** 2;
    const covariance = sums.rowsTimesMs / sums.count - meanRows * meanMs;
    const slope = covariance / (variance + (SAME_ROWS * meanRows) ** 2);
    // Neither a row nor a batch without rows costs less than nothing.
    const msPerRow = Math.min(Math.max(slope, 0), meanMs / meanRows);
    return meanMs + msPerRow * (rows - meanRows);
  }
}
