import type { Constraint, StepBatch, StepInput } from '../../../src/kernels/index.js';
import { best, ourRival } from '../../baselines/ours.js';
import type { Rival } from '../../baselines/rival.js';

/** What is decoded: by whom does not matter. */
export interface Decoding {
  /** [requests] what each may reach: the truth that rivals are checked against. */
  constraints: readonly Constraint[];
  beamWidth: number;
  vocabSize: number;
}

/** A batch as it stands before one step; nodes as the prefixes that lead to them. */
interface Snapshot {
  beamCounts: Uint32Array;
  firstRows: Uint32Array;
  scores: Float32Array;
  /** [beams, depth] */
  prefixes: Uint32Array;
  nodeLo: Uint32Array;
  nodeHi: Uint32Array;
  rows: number;
}

/** A rival's numbers of the nodes in one snapshot. */
export interface Places {
  nodeLo: Uint32Array;
  nodeHi: Uint32Array;
}

/**
 * Beams are looked up for every rival. So many keep that within seconds, and are too many for the caches that
 * are next to a core.
 */
const MAX_BEAMS = 40_000;

/** Decodes over random logits, recorded so that every rival repeats each of their steps. */
export class RecordedDecodes {
  readonly decoding: Decoding;
  readonly levels: number;
  readonly #pool: readonly Float32Array[];
  readonly #snapshots: Snapshot[][] = [];

  /** @param most how many are recorded, where their beams are not too many */
  constructor(decoding: Decoding, pool: readonly Float32Array[], most: number) {
    this.decoding = decoding;
    this.#pool = pool;
    const { constraints, beamWidth } = decoding;
    this.levels = constraints[0].trie.levelCount;
    const beams = constraints.length * beamWidth * this.levels;
    // An odd number: whoever sits out an even number of turns comes to all of them in time.
    const count = Math.max(2, Math.min(most, Math.floor(MAX_BEAMS / beams))) | 1;
    for (let path = 0; path < count; path++) this.#snapshots.push(this.#record(path));
  }

  get count(): number {
    return this.#snapshots.length;
  }

  /** The logits of any step. @param turn picks them: they come round only after many others. */
  input(depth: number, turn: number): StepInput {
    return {
      depth,
      logits: this.#pool[turn % this.#pool.length],
      vocabSize: this.decoding.vocabSize,
      tokens: { offset: 0 },
    };
  }

  /** [paths][levels] */
  placesOf(rival: Rival, sharesTries: boolean): Places[][] {
    return this.#snapshots.map((path) =>
      path.map((snapshot, depth) =>
        sharesTries && rival.numbering === 'leaf ranges' ? snapshot : this.#locate(rival, snapshot, depth),
      ),
    );
  }

  /** Puts the beams before one recorded step into a rival's batch. @returns rows of logits that it reads */
  load({ batch }: Rival, places: readonly Places[][], path: number, depth: number): number {
    const { beamCounts, firstRows, scores, rows } = this.#snapshots[path][depth];
    const { nodeLo, nodeHi } = places[path][depth];
    batch.beamCounts.set(beamCounts);
    batch.firstRows.set(firstRows);
    batch.scores.set(scores);
    batch.nodeLo.set(nodeLo);
    batch.nodeHi.set(nodeHi);
    return rows;
  }

  /** The prefix of one of a snapshot's beams. @param row as its logits are numbered */
  prefix(path: number, depth: number, row: number): Uint32Array {
    return this.#snapshots[path][depth].prefixes.subarray(row * depth, (row + 1) * depth);
  }

  #locate(rival: Rival, { beamCounts, prefixes }: Snapshot, depth: number): Places {
    const nodeLo: number[] = [];
    const nodeHi: number[] = [];
    beamCounts.forEach((count, request) => {
      for (let beam = 0; beam < count; beam++) {
        const row = nodeLo.length;
        const { lo, hi } = rival.locate(request, prefixes.subarray(row * depth, (row + 1) * depth));
        nodeLo.push(lo);
        nodeHi.push(hi);
      }
    });
    return { nodeLo: Uint32Array.from(nodeLo), nodeHi: Uint32Array.from(nodeHi) };
  }

  #record(path: number): Snapshot[] {
    const { constraints, beamWidth } = this.decoding;
    const { batch, step } = ourRival(best().kernel(), constraints, this.decoding);
    return Array.from({ length: this.levels }, (_, depth) => {
      const rows = numberRows(batch);
      const prefixes = new Uint32Array(rows * depth);
      batch.beamCounts.forEach((count, request) => {
        const { trie } = constraints[request];
        for (let row = batch.firstRows[request]; row < batch.firstRows[request] + count; row++) {
          const start = batch.nodeLo[row] * trie.levelCount;
          prefixes.set(trie.rows.subarray(start, start + depth), row * depth);
        }
      });
      const snapshot = {
        beamCounts: batch.beamCounts.slice(),
        firstRows: batch.firstRows.slice(),
        scores: batch.scores.slice(0, rows),
        prefixes,
        nodeLo: batch.nodeLo.slice(0, rows),
        nodeHi: batch.nodeHi.slice(0, rows),
        rows,
      };
      step(this.input(depth, path * this.levels + depth));
      batch.advance(() => beamWidth);
      return snapshot;
    });
  }
}

/** Gives the beams rows of logits, one request after the other. @returns how many */
export function numberRows({ beamCounts, firstRows, requestCount }: StepBatch): number {
  let row = 0;
  for (let request = 0; request < requestCount; request++) {
    firstRows[request] = row;
    row += beamCounts[request];
  }
  return row;
}
