import type { StepBatch } from '../../src/kernels/index.js';

/** The CPU trie that STATIC is measured against: a node is a Map from code to child. */
export interface MapNode {
  children: Map<number, MapNode>;
}

export function buildNestedMap(rows: Uint16Array, rowCount: number, levelCount: number): MapNode {
  const root: MapNode = { children: new Map() };
  for (let row = 0; row < rowCount; row++) {
    let node = root;
    for (let level = 0; level < levelCount; level++) {
      const code = rows[row * levelCount + level];
      let child = node.children.get(code);
      if (child === undefined) {
        child = { children: new Map() };
        node.children.set(code, child);
      }
      node = child;
    }
  }
  return root;
}

interface Candidate {
  score: number;
  beam: number;
  code: number;
}

/** One step of one request by walking pointers: each beam's children scored, then all sorted. */
export function nestedMapStep(
  nodes: readonly MapNode[],
  scores: readonly number[],
  normalizers: Float32Array,
  logits: Float32Array,
  vocabSize: number,
  beamWidth: number,
): Candidate[] {
  const candidates: Candidate[] = [];
  nodes.forEach((node, beam) => {
    const start = beam * vocabSize;
    for (const code of node.children.keys()) {
      const logProb = Math.fround(logits[start + code] - normalizers[beam]);
      candidates.push({ score: Math.fround(scores[beam] + logProb), beam, code });
    }
  });
  return best(candidates, beamWidth);
}

/** The same with a bound: only what can still win is kept, and sorted out at four times the beam width. */
export function boundedMapStep(
  nodes: readonly MapNode[],
  scores: readonly number[],
  normalizers: Float32Array,
  logits: Float32Array,
  vocabSize: number,
  beamWidth: number,
): Candidate[] {
  let candidates: Candidate[] = [];
  let bound = Number.NEGATIVE_INFINITY;
  nodes.forEach((node, beam) => {
    const start = beam * vocabSize;
    for (const code of node.children.keys()) {
      const score = Math.fround(scores[beam] + Math.fround(logits[start + code] - normalizers[beam]));
      if (score < bound) continue;
      candidates.push({ score, beam, code });
      if (candidates.length < 4 * beamWidth) continue;
      candidates = best(candidates, beamWidth);
      bound = candidates[beamWidth - 1].score;
    }
  });
  return best(candidates, beamWidth);
}

function best(candidates: Candidate[], beamWidth: number): Candidate[] {
  candidates.sort((a, b) => b.score - a.score || a.beam - b.beam || a.code - b.code);
  return candidates.slice(0, beamWidth);
}

/** The nodes that a request's beams stand at, found by the codes of their first leaf. */
export function nodesOfBeams(
  root: MapNode,
  batch: StepBatch,
  firstBeam: number,
  count: number,
  depth: number,
): MapNode[] {
  const { trie } = batch.constraints[0];
  return Array.from({ length: count }, (_, beam) => {
    let node = root;
    const leaf = batch.nodeLo[firstBeam + beam];
    for (let level = 0; level < depth; level++) {
      node = node.children.get(trie.rows[leaf * trie.levelCount + level])!;
    }
    return node;
  });
}
