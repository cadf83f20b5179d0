import { fieldError } from '../errors.js';
import { isBitSet, wordsFor } from './bits.js';
import type { StepInput } from './kernel.js';
import { normalizations } from './log-probs.js';
import type { StepBatch } from './step-batch.js';
import type { Constraint, DeadLeaves, LiveLeaves, TrieArrays } from './types.js';

/** The most beams that a request may have, in every kernel. */
export const MAX_BEAM_WIDTH = 1024;

/** What of a constraint does not fit its trie. */
export interface ConstraintFault {
  /** Of the set or of the exclusions, e.g. `set.leafBits`. */
  field: string;
  expected: string;
  found: string;
}

/** Constraints that were found to fit: they don't change. */
const fitting = new WeakSet<Constraint>();

/**
 * What keeps a set or exclusions from being those of the trie: bitmaps of other lengths, or leaves that it lacks. Those of
 * another trie of the same shape pass.
 */
export function constraintFault(constraint: Constraint): ConstraintFault | undefined {
  if (fitting.has(constraint)) return undefined;
  const { trie, live, dead } = constraint;
  const fault = liveFault(trie, live) ?? deadFault(trie, dead);
  if (fault === undefined) fitting.add(constraint);
  return fault;
}

/** What the native kernels check as well (native/cpu/step_checks.cpp). @throws EspalierError ESP_SHAPE */
export function checkStep(batch: StepBatch, input: StepInput): void {
  const { logits, vocabSize } = input;
  if (!(logits instanceof Float32Array || logits instanceof Uint16Array)) {
    refuse('logits', 'a Float32Array, or a Uint16Array of float16', typeof logits);
  }
  if (!(vocabSize >= 1)) refuse('vocabSize', 'at least 1', vocabSize);
  checkTable(input);
  checkRoom(batch);
  let firstBeam = 0;
  for (let request = 0; request < batch.requestCount; request++) {
    const { trie } = batch.constraints[request];
    checkRequest(batch, input, request);
    checkLevel(trie, input, request);
    checkNodes(batch, trie, input.depth, request, firstBeam);
    firstBeam += batch.beamCounts[request];
  }
}

function checkTable({ tokens, vocabSize }: StepInput): void {
  if (!('table' in tokens)) return;
  const largest = tokens.table.reduce((most, token) => Math.max(most, token), 0);
  if (largest >= vocabSize) refuse('token table', `tokens below the vocabulary of ${vocabSize}`, largest);
}

function checkRoom({ requestCount, requestCapacity, beamCapacity, beamCounts, beamWidths }: StepBatch): void {
  if (requestCount > requestCapacity) refuse('requests', `at most ${requestCapacity}`, requestCount);
  let beams = 0;
  let widths = 0;
  for (let request = 0; request < requestCount; request++) {
    beams += beamCounts[request];
    widths += beamWidths[request];
  }
  const most = Math.max(beams, widths);
  if (most > beamCapacity) refuse('beams of all requests', `at most ${beamCapacity}`, most);
}

function checkRequest(batch: StepBatch, { logits, vocabSize }: StepInput, request: number): void {
  const beams = batch.beamCounts[request];
  const width = batch.beamWidths[request];
  const at = `request ${request}`;
  if (width < 1 || width > MAX_BEAM_WIDTH) refuse(`${at}: beam width`, `1 to ${MAX_BEAM_WIDTH}`, width);
  if (beams > MAX_BEAM_WIDTH) refuse(`${at}: beams`, `at most ${MAX_BEAM_WIDTH}`, beams);
  const rowCount = Math.floor(logits.length / vocabSize);
  const rowsEnd = batch.firstRows[request] + beams;
  if (beams > 0 && rowsEnd > rowCount) refuse(`${at}: rows of logits`, `at least ${rowsEnd}`, rowCount);
  const temperature = batch.temperatures[request];
  if (!(temperature > 0)) refuse(`${at}: temperature`, 'above 0, as a float32', temperature);
  const normalization = batch.normalizations[request];
  if (normalization >= normalizations.length) {
    refuse(`${at}: normalization`, `one of ${normalizations.join(', ')}`, normalization);
  }
  const fault = constraintFault(batch.constraints[request]);
  if (fault !== undefined) refuse(`${at}: ${fault.field}`, fault.expected, fault.found);
}

function checkLevel(trie: TrieArrays, { tokens, depth, vocabSize }: StepInput, request: number): void {
  if (depth >= trie.levelCount) refuse(`request ${request}: depth`, `below ${trie.levelCount}`, depth);
  const codeCount = trie.codebookSizes[depth];
  if ('table' in tokens) {
    const { length } = tokens.table;
    if (length !== codeCount) refuse('token table', `${codeCount} tokens, one for each code`, length);
  } else if (tokens.offset + codeCount > vocabSize) {
    refuse('tokens', `below the vocabulary of ${vocabSize}`, tokens.offset + codeCount - 1);
  }
}

function checkNodes(
  { nodeLo, nodeHi, beamCounts }: StepBatch,
  trie: TrieArrays,
  depth: number,
  request: number,
  firstBeam: number,
): void {
  const count = beamCounts[request];
  if (depth === 0 && count > 1) refuse(`request ${request}: beams at the root`, 'one', count);
  for (let beam = 0; beam < count; beam++) {
    const lo = nodeLo[firstBeam + beam];
    const hi = nodeHi[firstBeam + beam];
    const isRange = lo < hi && hi <= trie.leafCount;
    if (isRange && isNodeEdge(trie, depth, lo) && isNodeEdge(trie, depth, hi)) continue;
    refuse(`request ${request}, beam ${beam}: node`, `one of depth ${depth}`, `[${lo}, ${hi})`);
  }
}

/** Whether a node of that depth begins at the leaf, or ends before it. */
function isNodeEdge(trie: TrieArrays, depth: number, leaf: number): boolean {
  if (depth === 0) return leaf === 0 || leaf === trie.leafCount;
  return isBitSet(trie.newPrefix[depth - 1], leaf);
}

function liveFault(trie: TrieArrays, live: LiveLeaves | null): ConstraintFault | undefined {
  if (live === null) return undefined;
  const bitCounts = {
    leafBits: trie.leafCount,
    rootMask: trie.codebookSizes[0],
    nodeBits: trie.topLevels[1]?.codes.length ?? 0,
  };
  for (const [field, bitCount] of Object.entries(bitCounts)) {
    const words = live[field as keyof LiveLeaves];
    if (words instanceof Uint32Array && words.length === wordsFor(bitCount)) continue;
    const found = words instanceof Uint32Array ? `${words.length} words` : typeof words;
    const expected = `a Uint32Array of ${wordsFor(bitCount)} words for the trie's ${bitCount} bits`;
    return { field: `set.${field}`, expected, found };
  }
  return undefined;
}

function deadFault({ leafCount }: TrieArrays, dead: DeadLeaves | null): ConstraintFault | undefined {
  if (dead === null) return undefined;
  const { leaves } = dead;
  for (let index = 0; index < leaves.length; index++) {
    if (leaves[index] < leafCount && (index === 0 || leaves[index] > leaves[index - 1])) continue;
    const expected = `ascending leaves below the trie's ${leafCount}`;
    return { field: `exclusions.dead.leaves[${index}]`, expected, found: String(leaves[index]) };
  }
  return undefined;
}

function refuse(field: string, expected: string, found: unknown): never {
  throw fieldError('ESP_SHAPE', field, expected, String(found));
}
