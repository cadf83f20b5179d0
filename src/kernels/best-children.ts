import type { StepBatch } from './step-batch.js';

/**
 * Keeps the M best candidates of a step. Candidates must come in the order in which ties are broken (parent
 * beam, then code), so that of two equal scores the earlier one is better.
 */
export class BestChildren {
  readonly #width: number;
  readonly #scores: Float32Array;
  readonly #arrivals: Uint32Array;
  readonly #parentBeams: Uint32Array;
  readonly #codes: Uint32Array;
  readonly #nodeLo: Uint32Array;
  readonly #nodeHi: Uint32Array;
  /** A binary heap of slots with the worst candidate on top. */
  readonly #heap: Uint32Array;
  #count = 0;
  #arrived = 0;

  constructor(width: number) {
    this.#width = width;
    this.#scores = new Float32Array(width);
    this.#arrivals = new Uint32Array(width);
    this.#parentBeams = new Uint32Array(width);
    this.#codes = new Uint32Array(width);
    this.#nodeLo = new Uint32Array(width);
    this.#nodeHi = new Uint32Array(width);
    this.#heap = new Uint32Array(width);
  }

  offer(score: number, parentBeam: number, code: number, lo: number, hi: number): void {
    const arrival = this.#arrived++;
    const full = this.#count === this.#width;
    // An equal score arrived later, and so it is worse; `>` compares −0 and +0 as equal.
    if (full && !(score > this.#scores[this.#heap[0]])) return;
    const slot = full ? this.#heap[0] : this.#count;
    this.#scores[slot] = score;
    this.#arrivals[slot] = arrival;
    this.#parentBeams[slot] = parentBeam;
    this.#codes[slot] = code;
    this.#nodeLo[slot] = lo;
    this.#nodeHi[slot] = hi;
    if (full) {
      this.#sink(0);
    } else {
      this.#heap[this.#count] = slot;
      this.#rise(this.#count++);
    }
  }

  /** Writes the kept candidates, best first, from `firstChild` on, and empties the heap. @returns their number */
  drainInto(batch: StepBatch, firstChild: number): number {
    const count = this.#count;
    for (let rank = this.#count - 1; rank >= 0; rank--) {
      const slot = this.#heap[0];
      const child = firstChild + rank;
      batch.childScores[child] = this.#scores[slot];
      batch.parentBeams[child] = this.#parentBeams[slot];
      batch.codes[child] = this.#codes[slot];
      batch.childLo[child] = this.#nodeLo[slot];
      batch.childHi[child] = this.#nodeHi[slot];
      this.#heap[0] = this.#heap[--this.#count];
      this.#sink(0);
    }
    this.#arrived = 0;
    return count;
  }

  #isWorse(a: number, b: number): boolean {
    const scoreA = this.#scores[a];
    const scoreB = this.#scores[b];
    return scoreA < scoreB || (scoreA === scoreB && this.#arrivals[a] > this.#arrivals[b]);
  }

  #rise(position: number): void {
    const heap = this.#heap;
    const slot = heap[position];
    while (position > 0) {
      const parent = (position - 1) >>> 1;
      if (!this.#isWorse(slot, heap[parent])) break;
      heap[position] = heap[parent];
      position = parent;
    }
    heap[position] = slot;
  }

  #sink(position: number): void {
    const heap = this.#heap;
    const slot = heap[position];
    for (let child = 2 * position + 1; child < this.#count; child = 2 * position + 1) {
      if (child + 1 < this.#count && this.#isWorse(heap[child + 1], heap[child])) child++;
      if (!this.#isWorse(heap[child], slot)) break;
      heap[position] = heap[child];
      position = child;
    }
    heap[position] = slot;
  }
}
