import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { EspalierError } from '../errors.js';
import { firstItemOf, type LeafItems, setBit, wordsFor } from '../kernels/index.js';
import { type CatalogVersion, sidOf } from './catalog-version.js';
import { findLeaf } from './find-leaf.js';

/** A constraint set's list as `readSetList` wrote it. */
export interface ListFile {
  path: string;
  /** SHA-256 in hex. */
  hash: string;
}

export interface ListedItems {
  /** One bit an item. */
  bits: Uint32Array;
  /** Ids or SIDs that the version does not have. */
  unknownCount: number;
  /** The first of them, as JSON. */
  unknown: string[];
}

const CHUNK_BYTES = 1 << 20;
const NEWLINE = 10;
const MAX_UNKNOWN = 10;

/**
 * The items of a catalog version that a list names, by id or by SID: of a SID, all its items. The file is read piece by
 * piece; the list is never in memory as a whole.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT where the file is gone, or is not what was written
 */
export function selectListed({ path, hash }: ListFile, version: CatalogVersion): ListedItems {
  const bits = new Uint32Array(wordsFor(version.leafItems.itemCount));
  const unknown: string[] = [];
  let unknownCount = 0;
  for (const line of verifiedLines(path, hash)) {
    if (select(JSON.parse(line), version, bits)) continue;
    if (unknownCount++ < MAX_UNKNOWN) unknown.push(line);
  }
  return { bits, unknownCount, unknown };
}

/**
 * Whether a list names an item, by its id or by its SID. The file is searched for the line that would, which takes far
 * less than `selectListed`: nothing is parsed, and no other item looked up.
 * @throws EspalierError ESP_ARTIFACT_CORRUPT where the file is gone, or is not what was written
 */
export function isListed({ path, hash }: ListFile, version: CatalogVersion, item: number): boolean {
  const id = JSON.stringify(version.ids.at(item));
  const sid = JSON.stringify(Array.from(sidOf(version, item)));
  const lines = [id, sid].map((line) => Buffer.from(`\n${line}\n`));
  const overlap = Math.max(...lines.map(({ length }) => length)) - 1;
  let isFound = false;
  // The first line has none before it whose end would set it off.
  let rest: Buffer = Buffer.from([NEWLINE]);
  verify(path, hash, (chunk) => {
    if (isFound) return;
    const bytes = Buffer.concat([rest, chunk]);
    isFound = lines.some((line) => bytes.includes(line));
    rest = bytes.subarray(-overlap);
  });
  return isFound;
}

function select(
  entry: string | number[],
  { trie, leafItems, ids }: CatalogVersion,
  bits: Uint32Array,
): boolean {
  if (typeof entry === 'string') {
    const item = ids.find(entry);
    if (item >= 0) setBit(bits, item);
    return item >= 0;
  }
  const leaf = findLeaf(trie, entry);
  if (leaf >= 0) setItemsOfLeaf(leafItems, leaf, bits);
  return leaf >= 0;
}

function setItemsOfLeaf(leafItems: LeafItems, leaf: number, bits: Uint32Array): void {
  const end = firstItemOf(leafItems, leaf + 1);
  for (let item = firstItemOf(leafItems, leaf); item < end; item++) setBit(bits, item);
}

/** Lines of a file whose bytes have been seen to be the right ones: it is read twice, and parsed only then. */
function* verifiedLines(path: string, expected: string): Generator<string> {
  verify(path, expected);
  let rest: Buffer = Buffer.alloc(0);
  for (const chunk of chunksOf(path)) {
    const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
    let begin = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, begin)) {
      yield bytes.toString('utf8', begin, end);
      begin = end + 1;
    }
    // A copy: the chunk's memory is read into again.
    rest = Buffer.from(bytes.subarray(begin));
  }
}

/** @param onChunk gets the bytes before it is known that they are the right ones; they are read over afterwards */
function verify(path: string, expected: string, onChunk: (chunk: Buffer) => void = () => {}): void {
  const hash = createHash('sha256');
  for (const chunk of chunksOf(path)) {
    hash.update(chunk);
    onChunk(chunk);
  }
  const found = hash.digest('hex');
  if (found !== expected) throw damaged(`SHA-256 must be ${expected}, found ${found}`);
}

function* chunksOf(path: string): Generator<Buffer> {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    throw damaged('the file cannot be opened', cause);
  }
  try {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    for (let length = readSync(file, buffer); length > 0; length = readSync(file, buffer)) {
      yield buffer.subarray(0, length);
    }
  } finally {
    closeSync(file);
  }
}

function damaged(what: string, cause?: unknown): EspalierError {
  return new EspalierError('ESP_ARTIFACT_CORRUPT', `list of a constraint set: ${what}`, { cause });
}
