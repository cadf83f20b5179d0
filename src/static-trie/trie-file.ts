import type { TrieArrays } from '../kernels/index.js';
import { SectionFile, writeSectionFile } from './section-file.js';
import { type TrieMeta, trieFromSections, trieMeta, trieSections } from './trie-sections.js';

const KIND = 'static-trie';

/** Writes a static trie alone, without items, to one file, durably. */
export function writeTrieFile(path: string, trie: TrieArrays): void {
  writeSectionFile(path, KIND, { meta: trieMeta(trie), sections: trieSections(trie) });
}

/** @throws EspalierError ESP_ARTIFACT_CORRUPT on a file that is truncated, damaged or of another kind. */
export function openTrieFile(path: string): TrieArrays {
  const file = new SectionFile<TrieMeta>(path, KIND);
  try {
    return trieFromSections(file, file.meta);
  } finally {
    file.close();
  }
}
