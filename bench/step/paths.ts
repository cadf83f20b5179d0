import { type Constraint, jsStep, type Kernel, StepBatch, type StepInput } from '../../src/kernels/index.js';

/** A batch as it stands before one step. */
interface Snapshot {
  beamCounts: Uint32Array;
  scores: Float32Array;
  nodeLo: Uint32Array;
  nodeHi: Uint32Array;
  rows: number;
}

/** Decodes of a batch over random logits, recorded so that each of their steps can be repeated. */
export class Paths {
  readonly batch: StepBatch;
  readonly #snapshots: Snapshot[][] = [];
  readonly #beamWidth: number;
  readonly #pool: readonly Float32Array[];
  readonly #vocabSize: number;

  constructor(
    kernel: Kernel,
    constraints: readonly Constraint[],
    {
      beamWidth,
      vocabSize,
      pool,
      count,
    }: { beamWidth: number; vocabSize: number; pool: readonly Float32Array[]; count: number },
  ) {
    this.batch = new StepBatch(constraints.length, constraints.length * beamWidth);
    this.#beamWidth = beamWidth;
    this.#pool = pool;
    this.#vocabSize = vocabSize;
    this.batch.begin(
      constraints.map((constraint) => ({ constraint, beamWidth, normalize: 'vocabulary', temperature: 1 })),
    );
    for (let path = 0; path < count; path++) this.#snapshots.push(this.#record(kernel, path));
  }

  /** Puts one path's beams before the step at `depth` into the batch. @returns rows of logits that it reads */
  load(path: number, depth: number): number {
    const { batch } = this;
    const { beamCounts, scores, nodeLo, nodeHi, rows } =
      this.#snapshots[path % this.#snapshots.length][depth];
    batch.beamCounts.set(beamCounts);
    batch.scores.set(scores);
    batch.nodeLo.set(nodeLo);
    batch.nodeHi.set(nodeHi);
    this.#setRows();
    return rows;
  }

  /** @param turn picks the logits */
  input(depth: number, turn: number): StepInput {
    return { depth, logits: this.logits(turn), vocabSize: this.#vocabSize, tokens: { offset: 0 } };
  }

  logits(turn: number): Float32Array {
    return this.#pool[turn % this.#pool.length];
  }

  /** Compares a kernel with the js kernel on what was recorded. @throws Error where they differ */
  verify(kernel: Kernel, levels: number): void {
    for (let depth = 0; depth < levels; depth++) {
      this.load(0, depth);
      kernel.step(this.batch, this.input(depth, depth));
      const found = resultOf(this.batch);
      const normalizers = this.batch.normalizers.slice();
      this.load(0, depth);
      jsStep(this.batch, this.input(depth, depth), normalizers);
      if (resultOf(this.batch) !== found)
        throw new Error(`${kernel.stepName} differs from js at step ${depth}`);
    }
  }

  #record(kernel: Kernel, path: number): Snapshot[] {
    const { batch } = this;
    const { trie } = batch.constraints[0];
    batch.beamCounts.fill(1);
    batch.scores.fill(0);
    batch.constraints.forEach((constraint, request) => {
      batch.nodeLo[request] = 0;
      batch.nodeHi[request] = constraint.trie.leafCount;
    });
    return trie.codebookSizes.map((_, depth) => {
      const rows = this.#setRows();
      const snapshot = {
        beamCounts: batch.beamCounts.slice(),
        scores: batch.scores.slice(),
        nodeLo: batch.nodeLo.slice(),
        nodeHi: batch.nodeHi.slice(),
        rows,
      };
      kernel.step(batch, this.input(depth, path * trie.levelCount + depth));
      batch.advance(() => this.#beamWidth);
      return snapshot;
    });
  }

  #setRows(): number {
    let row = 0;
    this.batch.beamCounts.forEach((count, request) => {
      this.batch.firstRows[request] = row;
      row += count;
    });
    return row;
  }
}

/** What a step found, as text. */
export function resultOf(batch: StepBatch): string {
  const parts: unknown[] = [];
  let child = 0;
  batch.counts.forEach((count, request) => {
    const kept = [batch.childScores, batch.parentBeams, batch.codes].map((values) =>
      Array.from(values.subarray(child, child + count)),
    );
    parts.push(kept);
    child += batch.beamWidths[request];
  });
  return JSON.stringify(parts);
}
