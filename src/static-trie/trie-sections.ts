import { type ChildMasks, type TopLevel, type TrieArrays, wordsFor } from '../kernels/index.js';
import { MAX_CODEBOOK_SIZE, MAX_LEVELS, wideRows } from './build.js';
import type { SectionArray, SectionFile } from './section-file.js';

/** What a file's header says of its trie; the arrays are its sections. */
export interface TrieMeta {
  leafCount: number;
  codebookSizes: number[];
}

export function trieMeta({ leafCount, codebookSizes }: TrieArrays): TrieMeta {
  return { leafCount, codebookSizes: [...codebookSizes] };
}

export function* trieSections(trie: TrieArrays): Generator<[string, SectionArray]> {
  yield ['rows', trie.rows];
  for (const [level, bits] of trie.newPrefix.entries()) yield [`newPrefix.${level}`, bits];
  for (const [level, { codes, leafStart, firstChild }] of trie.topLevels.entries()) {
    yield [`top.${level}.codes`, codes];
    yield [`top.${level}.leafStart`, leafStart];
    if (firstChild) yield [`top.${level}.firstChild`, firstChild];
  }
  if (trie.childMasks) {
    const { nodes, bits, ranks } = trie.childMasks;
    yield ['mask.nodes', nodes];
    yield ['mask.bits', bits];
    yield ['mask.ranks', ranks];
  }
}

/** Bytes that a trie's arrays take. */
export function trieByteLength(trie: TrieArrays): number {
  let bytes = 0;
  for (const [, array] of trieSections(trie)) bytes += array.byteLength;
  return bytes;
}

/** @throws EspalierError ESP_ARTIFACT_CORRUPT where the sections are not those of a static trie. */
export function trieFromSections(
  file: SectionFile<unknown>,
  { leafCount, codebookSizes }: TrieMeta,
): TrieArrays {
  const isShape =
    Array.isArray(codebookSizes) &&
    codebookSizes.length >= 1 &&
    codebookSizes.length <= MAX_LEVELS &&
    codebookSizes.every((size) => Number.isInteger(size) && size >= 1 && size <= MAX_CODEBOOK_SIZE) &&
    Number.isInteger(leafCount) &&
    leafCount >= 1 &&
    leafCount < 2 ** 32 - 1;
  if (!isShape)
    throw file.corrupt('the shape of a static trie', `${leafCount} leaves, codebooks ${codebookSizes}`);
  const levelCount = codebookSizes.length;
  const codeType: typeof Uint16Array | typeof Uint32Array = wideRows(codebookSizes)
    ? Uint32Array
    : Uint16Array;
  const topLevels = codebookSizes.slice(0, 2).map((_, level, levels): TopLevel => {
    const codes = file.take(`top.${level}.codes`, codeType);
    const leafStart = file.take(`top.${level}.leafStart`, Uint32Array, codes.length + 1);
    checkAscending(file, `top.${level}.leafStart`, leafStart, leafCount);
    const hasChildren = level + 1 < levels.length;
    return {
      codes,
      leafStart,
      firstChild: hasChildren ? file.take(`top.${level}.firstChild`, Uint32Array, codes.length + 1) : null,
    };
  });
  const [roots, nodes] = topLevels;
  if (roots.firstChild) checkAscending(file, 'top.0.firstChild', roots.firstChild, nodes.codes.length);
  return {
    leafCount,
    levelCount,
    codebookSizes,
    rows: file.take('rows', codeType, leafCount * levelCount),
    newPrefix: codebookSizes.map((_, level) =>
      file.take(`newPrefix.${level}`, Uint32Array, wordsFor(leafCount + 1)),
    ),
    topLevels,
    childMasks: file.has('mask.nodes') ? takeChildMasks(file, codebookSizes, roots) : null,
  };
}

function takeChildMasks(
  file: SectionFile<unknown>,
  codebookSizes: readonly number[],
  roots: TopLevel,
): ChildMasks {
  const nodes = file.take('mask.nodes', Uint32Array);
  const isAscending = nodes.every((node, index) => index === 0 || node > nodes[index - 1]);
  if (codebookSizes.length < 2 || !isAscending || nodes[nodes.length - 1] >= roots.codes.length) {
    throw file.corrupt('section mask.nodes to ascend within the nodes of level 0', 'one that does not');
  }
  const words = nodes.length * wordsFor(codebookSizes[1]);
  return {
    nodes,
    bits: file.take('mask.bits', Uint32Array, words),
    ranks: file.take('mask.ranks', Uint32Array, words / 2),
  };
}

/** From 0 strictly up to `last`: then no range that is read from it leaves the arrays behind it. */
function checkAscending(file: SectionFile<unknown>, name: string, values: Uint32Array, last: number): void {
  let isAscending = values[0] === 0 && values[values.length - 1] === last;
  for (let index = 1; index < values.length && isAscending; index++) {
    isAscending = values[index] > values[index - 1];
  }
  if (!isAscending) throw file.corrupt(`section ${name} to ascend from 0 to ${last}`, 'one that does not');
}
