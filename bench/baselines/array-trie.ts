import { BestChildren } from '../../src/kernels/best-children.js';
import type { StepInput, TrieArrays } from '../../src/kernels/index.js';
import { nativeRivals } from './native-rivals.js';
import { NativeRival, RequestRival } from './request-rival.js';
import { firstNewLevel, type Idea, type Node, nodeCounts, type Seats, type Structure } from './rival.js';

/*
 * The CPU trie again, as somebody who minds its memory writes it: no objects, but arrays. Nodes are numbered in
 * depth-first order, and each has a list of its children, sorted by code (compressed sparse rows, the textbook's
 * static trie). So nobody can say that only a trie of Maps was beaten.
 *
 * Made fast: children's codes lie apart from their numbers, since most are read and few followed; what beats the
 * worst of the M best is kept, and nothing else. `array-trie` steps in C++ and asks for all beams' lists before it
 * reads the first, `array-trie-js` is the same in JavaScript.
 */

interface ArrayTrie extends Structure {
  /** [inner nodes + 1] */
  childStart: Uint32Array;
  /** [children] codes, and numbers of inner nodes; 0 for leaves. */
  childCodes: Uint32Array;
  childNodes: Uint32Array;
}

function demand(sids: TrieArrays) {
  const nodes = nodeCounts(sids);
  const inner = nodes.slice(0, -1).reduce((sum, count) => sum + count, 1);
  return { bytes: 4 * (inner + 1) + 8 * (inner - 1 + nodes[nodes.length - 1]) };
}

function build({ rows, leafCount, levelCount, ...rest }: TrieArrays): ArrayTrie {
  const nodes = nodeCounts({ rows, leafCount, levelCount, ...rest });
  const inner = nodes.slice(0, -1).reduce((sum, count) => sum + count, 1);
  const childStart = new Uint32Array(inner + 1);
  const childCount = inner - 1 + nodes[levelCount - 1];
  const childCodes = new Uint32Array(childCount);
  const childNodes = new Uint32Array(childCount);
  // The numbers of the nodes on the way to the current leaf.
  const path = new Uint32Array(levelCount);

  let next = 1;
  forEachNode(rows, leafCount, levelCount, (level) => {
    childStart[path[level] + 1]++;
    if (level < levelCount - 1) path[level + 1] = next++;
  });
  for (let node = 0; node < inner; node++) childStart[node + 1] += childStart[node];

  // Where each node's next child goes: as the lists fill, each start moves to its end, which is the next one's start.
  next = 1;
  forEachNode(rows, leafCount, levelCount, (level, code) => {
    const place = childStart[path[level]]++;
    childCodes[place] = code;
    if (level === levelCount - 1) return;
    childNodes[place] = next;
    path[level + 1] = next++;
  });
  childStart.copyWithin(1, 0, inner);
  childStart[0] = 0;
  return { childStart, childCodes, childNodes, bytes: 4 * (inner + 1) + 8 * childCount };
}

/** Nodes in depth-first order, with the level and the code that leads to each. */
function forEachNode(
  rows: TrieArrays['rows'],
  leafCount: number,
  levelCount: number,
  visit: (level: number, code: number) => void,
): void {
  for (let leaf = 0; leaf < leafCount; leaf++) {
    for (let level = firstNewLevel(rows, levelCount, leaf); level < levelCount; level++) {
      visit(level, rows[leaf * levelCount + level]);
    }
  }
}

function locate({ childStart, childCodes, childNodes }: ArrayTrie, prefix: Uint32Array): Node {
  let node = 0;
  for (const code of prefix) {
    const codes = childCodes.subarray(childStart[node], childStart[node + 1]);
    const child = codes.indexOf(code);
    if (child < 0) throw new Error(`no node has the prefix ${prefix.join(' ')}`);
    node = childNodes[childStart[node] + child];
  }
  return { lo: node, hi: 0 };
}

export const arrayTrie: Idea<ArrayTrie> = {
  name: 'array-trie',
  kind: 'rival',
  agreement: 'exact',
  demand,
  build,
  start(structures, sids, seats) {
    const handles = structures.map(({ childStart, childCodes, childNodes }) =>
      nativeRivals().createRival('array-trie', [childStart, childCodes, childNodes], []),
    );
    return new NativeRival(sids, seats, handles, (table, prefix) => locate(structures[table], prefix));
  },
};

export const arrayTrieJs: Idea<ArrayTrie> = {
  ...arrayTrie,
  name: 'array-trie-js',
  start: (structures, sids, seats) => new ArrayTrieJs(structures, sids, seats),
};

class ArrayTrieJs extends RequestRival {
  readonly #structures: readonly ArrayTrie[];
  readonly #best: BestChildren;

  constructor(structures: readonly ArrayTrie[], sids: readonly TrieArrays[], seats: Seats) {
    super(sids, seats);
    this.#structures = structures;
    this.#best = new BestChildren(seats.beamWidth);
  }

  locate(request: number, prefix: Uint32Array): Node {
    return locate(this.#structures[this.tableOf[request]], prefix);
  }

  protected choose(request: number, input: StepInput, firstBeam: number, firstChild: number): number {
    const { batch } = this;
    const logits = input.logits as Float32Array;
    const { childStart, childCodes, childNodes } = this.#structures[this.tableOf[request]];
    for (let beam = 0; beam < batch.beamCounts[request]; beam++) {
      const index = firstBeam + beam;
      const row = (batch.firstRows[request] + beam) * input.vocabSize;
      const node = batch.nodeLo[index];
      for (let child = childStart[node]; child < childStart[node + 1]; child++) {
        const code = childCodes[child];
        const logit = logits[row + code];
        if (logit === Number.NEGATIVE_INFINITY) continue;
        const score = Math.fround(batch.scores[index] + Math.fround(logit - batch.normalizers[index])) + 0;
        this.#best.offer(score, beam, code, childNodes[child], 0);
      }
    }
    return this.#best.drainInto(batch, firstChild);
  }
}
