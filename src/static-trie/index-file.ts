import type { TrieArrays } from '../kernels/index.js';
import { verifyCatalogFile } from './catalog-file.js';
import type { AttributeSchema } from './columns.js';
import { MappedFile } from './mapped-file.js';
import { SectionFile } from './section-file.js';
import { type TrieMeta, trieFromSections } from './trie-sections.js';
import { verifyTrie } from './verify-trie.js';

const KINDS = ['static-trie', 'catalog-version'] as const;
/** Behind the magic; section-file.ts has the format. */
const VERSION_OFFSET = 8;

/** A file with a trie in it, of either kind: a trie alone, or a catalog version. */
export interface IndexFile {
  kind: (typeof KINDS)[number];
  formatVersion: number;
  byteLength: number;
  trie: TrieArrays;
  /** Of a catalog version. */
  itemCount: number | undefined;
  attributes: AttributeSchema | undefined;
  sections: { name: string; byteLength: number }[];
}

type Meta = TrieMeta & { itemCount?: number; attributes?: AttributeSchema };

/** @throws EspalierError ESP_ARTIFACT_CORRUPT on a file that is truncated, damaged or of another kind. */
export function openIndexFile(path: string): IndexFile {
  return withIndexFile(path, (file) => ({
    kind: file.kind as IndexFile['kind'],
    formatVersion: readFormatVersion(path),
    byteLength: file.byteLength,
    trie: trieFromSections(file, file.meta),
    itemCount: file.meta.itemCount,
    attributes: file.meta.attributes,
    sections: file.sectionNames.map((name) => ({ name, byteLength: file.byteLengthOf(name) })),
  }));
}

/**
 * Reads everything: checksums, and that the arrays mean something.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT with the first fault.
 */
export function verifyIndexFile(path: string, onProgress: (fraction: number) => void = () => {}): void {
  withIndexFile(path, (file) => {
    if (file.kind === 'catalog-version') return verifyCatalogFile(path, onProgress);
    file.verify(onProgress);
    verifyTrie(trieFromSections(file, file.meta));
  });
}

function withIndexFile<Result>(path: string, use: (file: SectionFile<Meta>) => Result): Result {
  const file = new SectionFile<Meta>(path, KINDS);
  try {
    return use(file);
  } finally {
    file.close();
  }
}

function readFormatVersion(path: string): number {
  const file = new MappedFile(path);
  try {
    return Buffer.from(file.piece(VERSION_OFFSET, 4)).readUInt32LE();
  } finally {
    file.close();
  }
}
