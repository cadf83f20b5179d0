import {
  ChildList,
  type Constraint,
  isBitSet,
  listLiveChildren,
  lowerBound,
  type StepBatch,
  tokenOf,
} from '../kernels/index.js';
import type { StepLogits } from './contracts/contract.js';
import type { DecodeReport } from './decode-report.js';
import type { Model } from './model.js';

/** One of so many steps is looked into. A prime above any number of levels, so that each level gets its turn. */
const SAMPLED_STEPS = 61;
/** Listing the children of more beams would show in the step's time. */
const SAMPLED_BEAMS = 8;

/**
 * Looks at steps from outside, with the reference code: how far the beams fan out, and whether a beam is dead. A beam
 * is dead when nothing that its request may get lies below it. Steps keep live children only, so there must be none.
 *
 * Beams that a search ends on are all looked at, and so are requests that suddenly keep nothing; of the beams on the
 * way there a sample is.
 */
export class BeamWatch {
  readonly #children = new ChildList();
  #steps = 0;

  /** Called after each step, before anything of it is overwritten. */
  afterStep(model: Model, depth: number, batch: StepBatch, logits: StepLogits, report: DecodeReport): void {
    this.#steps++;
    const isSampled = this.#steps % SAMPLED_STEPS === 0;
    const sampled = isSampled ? Math.floor(this.#steps / SAMPLED_STEPS) % batch.requestCount : -1;
    let firstBeam = 0;
    for (let request = 0; request < batch.requestCount; request++) {
      const beamCount = batch.beamCounts[request];
      const keptNothing = beamCount > 0 && batch.counts[request] === 0 && batch.badBeams[request] < 0;
      if (keptNothing) {
        report.deadBeams += this.#countLost(model, depth, batch, request, firstBeam, logits);
      } else if (request === sampled) {
        this.#sample(depth, batch, request, firstBeam, report);
      }
      firstBeam += beamCount;
    }
  }

  /** Called when the last step's children are the beams. */
  atEnd(batch: StepBatch, report: DecodeReport): void {
    const { beamCounts, nodeLo, nodeHi, constraints } = batch;
    let beam = 0;
    for (let request = 0; request < batch.requestCount; request++) {
      for (const end = beam + beamCounts[request]; beam < end; beam++) {
        if (!isLiveLeaf(constraints[request], nodeLo[beam], nodeHi[beam])) report.deadBeams++;
      }
    }
  }

  #sample(depth: number, batch: StepBatch, request: number, firstBeam: number, report: DecodeReport): void {
    const count = Math.min(batch.beamCounts[request], SAMPLED_BEAMS);
    for (let beam = firstBeam; beam < firstBeam + count; beam++) {
      this.#list(depth, batch, request, beam);
      report.liveChildren.push(this.#children.count);
      if (this.#children.count === 0) report.deadBeams++;
    }
  }

  /** The beams of a request that kept nothing, unless it is the model that gives their children no probability. */
  #countLost(
    model: Model,
    depth: number,
    batch: StepBatch,
    request: number,
    firstBeam: number,
    { data, vocabSize, firstRows }: StepLogits,
  ): number {
    const tokens = model.levelTokens[depth];
    let lost = 0;
    for (let index = 0; index < batch.beamCounts[request]; index++) {
      this.#list(depth, batch, request, firstBeam + index);
      const { count, codes } = this.#children;
      const row = (firstRows[request] + index) * vocabSize;
      let likely = 0;
      for (let child = 0; child < count; child++) {
        if (data[row + tokenOf(tokens, codes[child])] > Number.NEGATIVE_INFINITY) likely++;
      }
      if (count === 0 || likely > 0) lost++;
    }
    return lost;
  }

  #list(depth: number, { constraints, nodeLo, nodeHi }: StepBatch, request: number, beam: number): void {
    const { trie, live, dead } = constraints[request];
    listLiveChildren(trie, depth, nodeLo[beam], nodeHi[beam], live, dead, this.#children);
  }
}

function isLiveLeaf({ live, dead }: Constraint, lo: number, hi: number): boolean {
  if (hi !== lo + 1) return false;
  if (live !== null && !isBitSet(live.leafBits, lo)) return false;
  return dead === null || dead.leaves[lowerBound(dead.leaves, lo)] !== lo;
}
