import type { LeafItems } from '../kernels/index.js';
import type { CatalogVersion } from './catalog-version.js';
import {
  type ColumnMeta,
  columnFromSections,
  columnToSections,
  type TakeSection,
} from './column-sections.js';
import type { Column, ColumnTable } from './columns.js';
import { ItemIds } from './item-ids.js';
import { type SectionArray, SectionFile, writeSectionFile } from './section-file.js';
import { StringTable } from './string-table.js';
import { type TrieMeta, trieFromSections, trieMeta, trieSections } from './trie-sections.js';
import { verifyCatalogVersion } from './verify-catalog.js';

const KIND = 'catalog-version';
/** Of the time that verifying takes, about how much goes into the checksums. */
const CHECKSUM_SHARE = 0.3;

interface CatalogMeta extends TrieMeta {
  itemCount: number;
  /** Of the hashes of the ids. */
  idSeed: number;
  attributes: Record<string, ColumnMeta>;
}

/** Writes a catalog version to one file, durably. */
export function writeCatalogFile(path: string, { trie, leafItems, ids, table }: CatalogVersion): void {
  const columns = [...table.columns].map(([name, column]) => ({
    name,
    ...columnToSections(columnKey(name), column),
  }));
  const sections: [string, SectionArray][] = [
    ...trieSections(trie),
    ['sharedLeaves', leafItems.sharedLeaves],
    ['sharedStart', leafItems.sharedStart],
    ['ids.bytes', ids.strings.bytes],
    ['ids.offsets', ids.strings.offsets],
    ['ids.hashes', ids.hashes],
    ['ids.items', ids.items],
    ...columns.flatMap((column) => column.sections),
  ];
  const meta: CatalogMeta = {
    ...trieMeta(trie),
    itemCount: leafItems.itemCount,
    idSeed: ids.seed,
    attributes: Object.fromEntries(columns.map(({ name, meta }) => [name, meta])),
  };
  writeSectionFile(path, KIND, { meta, sections });
}

/**
 * Opens a file that `verifyCatalogFile` has read. Header and shape are checked, and no array is read through: it
 * takes the same time for any size.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT on a file that is truncated, damaged or of another kind.
 */
export function openCatalogFile(path: string): CatalogVersion {
  const file = new SectionFile<CatalogMeta>(path, KIND);
  try {
    return versionFromSections(file);
  } finally {
    file.close();
  }
}

/** The same for a thread that others need: it is never busy for long. */
export async function openCatalogFileInTurns(path: string): Promise<CatalogVersion> {
  const file = new SectionFile<CatalogMeta>(path, KIND);
  try {
    await file.mapInTurns();
    return versionFromSections(file);
  } finally {
    file.close();
  }
}

/**
 * Reads a file as a whole, and checks that it is what was written (checksums) and that it means something.
 * @param expectedHash SHA-256 of the file in hex, where it is known; a sound file in its place is refused, too
 * @throws EspalierError ESP_ARTIFACT_CORRUPT with the first fault.
 */
export function verifyCatalogFile(
  path: string,
  onProgress: (fraction: number) => void = () => {},
  expectedHash?: string,
): void {
  const file = new SectionFile<CatalogMeta>(path, KIND);
  try {
    file.verify((fraction) => onProgress(fraction * CHECKSUM_SHARE), expectedHash);
    verifyCatalogVersion(versionFromSections(file), (fraction) => {
      onProgress(CHECKSUM_SHARE + fraction * (1 - CHECKSUM_SHARE));
    });
  } finally {
    file.close();
  }
}

function versionFromSections(file: SectionFile<CatalogMeta>): CatalogVersion {
  // Whoever wrote the header may have written anything.
  const meta: Partial<CatalogMeta> | null = file.meta;
  const { itemCount, idSeed, attributes } = meta ?? {};
  const isWellFormed =
    isU32(itemCount) && isU32(idSeed) && isObject(attributes) && Object.values(attributes).every(isObject);
  if (!isWellFormed) throw file.corrupt('a header of items and attributes', 'one without');
  const trie = trieFromSections(file, file.meta);
  return {
    trie,
    leafItems: leafItemsFromSections(file, trie.leafCount, itemCount),
    ids: idsFromSections(file, itemCount, idSeed),
    table: tableFromSections(file, itemCount, attributes),
  };
}

function leafItemsFromSections(
  file: SectionFile<CatalogMeta>,
  leafCount: number,
  itemCount: number,
): LeafItems {
  const sharedLeaves = file.take('sharedLeaves', Uint32Array);
  const sharedStart = file.take('sharedStart', Uint32Array, sharedLeaves.length + 1);
  const found = leafCount - sharedLeaves.length + sharedStart[sharedLeaves.length];
  if (found !== itemCount) throw file.corrupt(`${itemCount} items on the leaves`, String(found));
  return { itemCount, leafCount, sharedLeaves, sharedStart };
}

function idsFromSections(file: SectionFile<CatalogMeta>, itemCount: number, seed: number): ItemIds {
  const bytes = file.take('ids.bytes', Uint8Array);
  const offsets = file.take('ids.offsets', Uint32Array, itemCount + 1);
  if (offsets[0] !== 0 || offsets[itemCount] !== bytes.length) {
    throw file.corrupt(`ids of ${bytes.length} bytes`, `offsets ${offsets[0]} to ${offsets[itemCount]}`);
  }
  return new ItemIds(
    new StringTable(bytes, offsets),
    file.take('ids.hashes', Uint32Array, itemCount),
    file.take('ids.items', Uint32Array, itemCount),
    seed,
  );
}

function tableFromSections(
  file: SectionFile<CatalogMeta>,
  itemCount: number,
  attributes: CatalogMeta['attributes'],
): ColumnTable {
  const take: TakeSection = (name, ...types) =>
    file.take(name, types) as InstanceType<(typeof types)[number]>;
  const columns = new Map<string, Column>();
  for (const [name, meta] of Object.entries(attributes)) {
    columns.set(name, columnFromSections(columnKey(name), meta, take, itemCount));
  }
  return { itemCount, columns };
}

function columnKey(name: string): string {
  return `column.${name}`;
}

function isU32(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
