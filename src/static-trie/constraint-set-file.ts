import { type LeafItems, sharedItemCount, type TrieArrays, wordsFor } from '../kernels/index.js';
import type { ConstraintSet } from './constraint-set.js';
import { SectionFile, writeSectionFile } from './section-file.js';

const KIND = 'constraint-set';

interface Meta {
  /** Names the catalog version whose leaf ranks the bits are. */
  boundTo: string;
  itemCount: number;
  leafCount: number;
}

/** Writes a set's bitmaps to one file, durably. @param boundTo names the catalog version that they are of */
export function writeConstraintSetFile(path: string, set: ConstraintSet, boundTo: string): void {
  const { live, sharedItemBits, itemCount, leafCount } = set;
  const meta: Meta = { boundTo, itemCount, leafCount };
  writeSectionFile(path, KIND, {
    meta,
    sections: [
      ['leafBits', live.leafBits],
      ['rootMask', live.rootMask],
      ['nodeBits', live.nodeBits],
      ['sharedItemBits', sharedItemBits],
    ],
  });
}

/**
 * A set whose bitmaps are mapped, checked against its checksums: over any other version, or with one bit
 * wrong, it would allow the wrong items.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT on a damaged file, or one of another catalog version
 */
export function openConstraintSetFile(
  path: string,
  trie: TrieArrays,
  leafItems: LeafItems,
  boundTo: string,
): ConstraintSet {
  const file = new SectionFile<Meta>(path, KIND);
  try {
    const { meta } = file;
    if (meta.boundTo !== boundTo) throw file.corrupt(`a set of ${boundTo}`, `one of ${meta.boundTo}`);
    file.verify();
    const isWithin =
      Number.isInteger(meta.leafCount) &&
      meta.leafCount >= 0 &&
      meta.leafCount <= trie.leafCount &&
      Number.isInteger(meta.itemCount) &&
      meta.itemCount >= meta.leafCount &&
      meta.itemCount <= leafItems.itemCount;
    if (!isWithin) throw file.corrupt('counts within the catalog', JSON.stringify(meta));
    return {
      live: {
        leafBits: file.take('leafBits', Uint32Array, wordsFor(trie.leafCount)),
        rootMask: file.take('rootMask', Uint32Array, wordsFor(trie.codebookSizes[0])),
        nodeBits: file.take('nodeBits', Uint32Array, wordsFor(trie.topLevels[1]?.codes.length ?? 0)),
      },
      sharedItemBits: file.take('sharedItemBits', Uint32Array, wordsFor(sharedItemCount(leafItems))),
      itemCount: meta.itemCount,
      leafCount: meta.leafCount,
    };
  } finally {
    file.close();
  }
}
