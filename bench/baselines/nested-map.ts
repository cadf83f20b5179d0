import { BestChildren } from '../../src/kernels/best-children.js';
import type { StepInput, TrieArrays } from '../../src/kernels/index.js';
import { fastestLogSumExp, jsLogSumExp, type LogSumExpRows, RequestRival } from './request-rival.js';
import { firstNewLevel, type Idea, type Node, nodeCounts, type Seats, type Structure } from './rival.js';

/*
 * The CPU trie that the STATIC paper measures against (arXiv 2602.22647, the "CPU trie" of its comparison, in
 * its published baseline a dictionary of dictionaries): nodes that point to their children, here as a service in
 * JavaScript would have it, a Map from code to child for each node.
 *
 * Made fast: a node is the Map itself, and all leaves are one object; children are visited without iterator objects;
 * only what beats the worst of the M best is kept, in a heap over typed arrays, where sorting all candidates would
 * take twice the time. SIDs are inserted in order, so that children are visited in the order in which ties are broken.
 */

type MapNode = Map<number, MapNode>;

interface NestedMap extends Structure {
  root: MapNode;
}

const LEAF: MapNode = new Map();
/** Measured on Node 20: a Map of one or two entries, and its entry in the parent. */
const BYTES_PER_INNER_NODE = 240;
/** Beyond it V8's default heap is too small, and the build takes minutes. */
const MAX_NODES = 9_000_000;

/** @param name `nested-map`, or `nested-map-all-js` where its log-softmax is JavaScript, too */
function nestedMapIdea(name: string, normalize: () => LogSumExpRows): Idea<NestedMap> {
  return {
    name,
    kind: 'rival',
    agreement: 'exact',
    demand(sids) {
      const nodes = nodeCounts(sids).slice(0, -1);
      const inner = nodes.reduce((sum, count) => sum + count, 1);
      const bytes = inner * BYTES_PER_INNER_NODE + sids.leafCount * 16;
      if (inner <= MAX_NODES) return { bytes };
      return { bytes, refusal: `${inner} Maps do not fit the heap; it is measured up to ${MAX_NODES}` };
    },
    build,
    start: (structures, sids, seats) => new NestedMapRival(structures, sids, seats, normalize()),
  };
}

export const nestedMap = nestedMapIdea('nested-map', fastestLogSumExp);
export const nestedMapAllJs = nestedMapIdea('nested-map-all-js', () => jsLogSumExp);

function build({ rows, leafCount, levelCount }: TrieArrays): NestedMap {
  const root: MapNode = new Map();
  const path: MapNode[] = [root];
  let nodes = 1;
  for (let leaf = 0; leaf < leafCount; leaf++) {
    const start = leaf * levelCount;
    for (let level = firstNewLevel(rows, levelCount, leaf); level < levelCount; level++) {
      const isLast = level === levelCount - 1;
      const child: MapNode = isLast ? LEAF : new Map();
      path[level].set(rows[start + level], child);
      if (isLast) continue;
      path[level + 1] = child;
      nodes++;
    }
  }
  return { root, bytes: nodes * BYTES_PER_INNER_NODE + leafCount * 16 };
}

/** Numbers of nodes that steps have led to, used again round and round. */
const RING = 1 << 18;

class NestedMapRival extends RequestRival {
  readonly #roots: readonly MapNode[];
  /** [RING] nodes that winners led to, then those that were located. */
  readonly #nodes: MapNode[] = new Array<MapNode>(RING).fill(LEAF);
  readonly #best: BestChildren;
  #next = 0;

  constructor(
    structures: readonly NestedMap[],
    sids: readonly TrieArrays[],
    seats: Seats,
    normalize: LogSumExpRows,
  ) {
    super(sids, seats, normalize);
    this.#roots = structures.map(({ root }) => root);
    this.#best = new BestChildren(seats.beamWidth);
  }

  locate(request: number, prefix: Uint32Array): Node {
    let node: MapNode | undefined = this.#roots[this.tableOf[request]];
    for (const code of prefix) node = node?.get(code);
    this.#nodes.push(node ?? LEAF);
    return { lo: this.#nodes.length - 1, hi: 0 };
  }

  protected choose(request: number, input: StepInput, firstBeam: number, firstChild: number): number {
    const { batch } = this;
    const logits = input.logits as Float32Array;
    const best = this.#best;
    for (let beam = 0; beam < batch.beamCounts[request]; beam++) {
      const index = firstBeam + beam;
      const row = (batch.firstRows[request] + beam) * input.vocabSize;
      const score = batch.scores[index];
      const normalizer = batch.normalizers[index];
      this.#nodes[batch.nodeLo[index]].forEach((_, code) => {
        const logit = logits[row + code];
        if (logit === Number.NEGATIVE_INFINITY) return;
        best.offer(Math.fround(score + Math.fround(logit - normalizer)) + 0, beam, code, 0, 0);
      });
    }
    const count = best.drainInto(batch, firstChild);
    for (let child = firstChild; child < firstChild + count; child++) {
      const parent = this.#nodes[batch.nodeLo[firstBeam + batch.parentBeams[child]]];
      this.#next = (this.#next + 1) % RING;
      this.#nodes[this.#next] = parent.get(batch.codes[child])!;
      batch.childLo[child] = this.#next;
    }
    return count;
  }
}
