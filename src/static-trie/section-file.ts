import { createHash, type Hash } from 'node:crypto';
import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { EspalierError } from '../errors.js';
import { writeDurably } from './durable-file.js';
import { MappedFile } from './mapped-file.js';

/*
 * A file of named typed arrays (docs/file-format.md):
 *   magic "ESPALIER", format version (u32), header length (u32), header crc (u32), header (JSON),
 *   then the sections, each at a multiple of 64 bytes, and nothing after the last. Little-endian throughout.
 */
const MAGIC = 'ESPALIER';
const FORMAT_VERSION = 2;
const FIXED_BYTES = MAGIC.length + 12;
const MAX_HEADER_BYTES = 1 << 24;
const ALIGNMENT = 64;
/** Files are written and checked in pieces, for progress and because one write takes at most 2 GiB. */
const PIECE_BYTES = 1 << 24;

const arrayTypes = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, f64: Float64Array } as const;
type Dtype = keyof typeof arrayTypes;
export type SectionArray = Uint8Array | Uint16Array | Uint32Array | Float64Array;
type ArrayType = (typeof arrayTypes)[Dtype];

/** What a file of some kind holds besides its arrays; must survive JSON. */
export interface SectionContent<Meta> {
  meta: Meta;
  sections: Iterable<[name: string, array: SectionArray]>;
}

interface SectionEntry {
  name: string;
  dtype: Dtype;
  /** In bytes, from the end of the header. */
  offset: number;
  /** In elements. */
  length: number;
  crc: number;
}

interface Header<Meta> {
  kind: string;
  meta: Meta;
  sections: SectionEntry[];
}

/** Durably: a crash or a full disk leaves the old file, or none. */
export function writeSectionFile<Meta>(path: string, kind: string, content: SectionContent<Meta>): void {
  const arrays = [...content.sections];
  let offset = 0;
  const sections = arrays.map(([name, array]): SectionEntry => {
    const start = offset;
    offset = align(start + array.byteLength);
    return { name, dtype: dtypeOf(array), offset: start, length: array.length, crc: crcOf(bytesOf(array)) };
  });
  const header = Buffer.from(JSON.stringify({ kind, meta: content.meta, sections } satisfies Header<Meta>));
  const fixed = Buffer.alloc(FIXED_BYTES);
  fixed.write(MAGIC, 0, 'latin1');
  fixed.writeUInt32LE(FORMAT_VERSION, MAGIC.length);
  fixed.writeUInt32LE(header.length, MAGIC.length + 4);
  fixed.writeUInt32LE(crc32(header), MAGIC.length + 8);
  writeDurably(path, pieces(fixed, header, arrays));
}

function* pieces(
  fixed: Uint8Array,
  header: Uint8Array,
  arrays: [string, SectionArray][],
): Generator<Uint8Array> {
  yield fixed;
  yield header;
  yield padding(FIXED_BYTES + header.length);
  for (const [, array] of arrays) {
    yield* piecesOf(bytesOf(array));
    yield padding(array.byteLength);
  }
}

/**
 * An open file. Only its header has been checked, which takes the same time for any size; a section is mapped
 * when it is taken, and `verify` reads them all. Files are never changed once they have their name.
 */
export class SectionFile<Meta> {
  readonly kind: string;
  readonly meta: Meta;
  readonly byteLength: number;
  readonly #name: string;
  readonly #file: MappedFile;
  readonly #headerEnd: number;
  readonly #base: number;
  readonly #entries: ReadonlyMap<string, SectionEntry>;
  readonly #mapped = new Map<string, ArrayBuffer>();

  /** @throws EspalierError ESP_ARTIFACT_CORRUPT on a file that is truncated, damaged or of another kind. */
  constructor(path: string, kind: string | readonly string[]) {
    this.#name = basename(path);
    this.#file = new MappedFile(path);
    try {
      const { header, headerEnd } = this.#readHeader();
      const base = align(headerEnd);
      this.kind = header.kind;
      this.meta = header.meta;
      this.byteLength = this.#file.byteLength;
      this.#headerEnd = headerEnd;
      this.#base = base;
      const kinds = typeof kind === 'string' ? [kind] : kind;
      if (!kinds.includes(header.kind))
        throw this.corrupt(`a file of kind ${kinds.join(' or ')}`, header.kind);
      if (typeof header.meta !== 'object' || header.meta === null)
        throw this.corrupt('meta of its kind', `${header.meta}`);
      this.#entries = this.#checkEntries(header.sections);
    } catch (thrown) {
      this.#file.close();
      throw thrown;
    }
  }

  get sectionNames(): string[] {
    return [...this.#entries.keys()];
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  byteLengthOf(name: string): number {
    const entry = this.#entry(name);
    return entry.length * arrayTypes[entry.dtype].BYTES_PER_ELEMENT;
  }

  /**
   * A section's array, mapped and not to be written to.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT where it is absent or has another type or length.
   */
  take<Type extends ArrayType>(
    name: string,
    types: Type | readonly Type[],
    length?: number,
  ): InstanceType<Type> {
    const entry = this.#entry(name);
    const type = arrayTypes[entry.dtype];
    const allowed: readonly ArrayType[] = Array.isArray(types) ? types : [types as Type];
    if (!allowed.includes(type)) {
      throw this.corrupt(`section ${name} as ${allowed.map((one) => one.name).join(' or ')}`, type.name);
    }
    if (length !== undefined && entry.length !== length) {
      throw this.corrupt(`${length} entries in section ${name}`, String(entry.length));
    }
    return new type(this.#mapped.get(name) ?? this.#map(name)) as InstanceType<Type>;
  }

  /**
   * Maps every section, and lets others have the thread after each: the collector takes a mapping for memory that was
   * allocated, and may run at every large one.
   */
  async mapInTurns(): Promise<void> {
    for (const name of this.sectionNames) {
      this.#mapped.set(name, this.#map(name));
      await setImmediate();
    }
  }

  #map(name: string): ArrayBuffer {
    return this.#file.piece(this.#base + this.#entry(name).offset, this.byteLengthOf(name));
  }

  /**
   * Reads every byte, once.
   * @param expectedHash SHA-256 in hex; undefined where it is not known what the file was
   * @throws EspalierError ESP_ARTIFACT_CORRUPT on the first section that is damaged, or where it is another file.
   */
  verify(onProgress: (fraction: number) => void = () => {}, expectedHash?: string): void {
    const hash = expectedHash === undefined ? undefined : createHash('sha256');
    hash?.update(new Uint8Array(this.#file.piece(0, this.#headerEnd)));
    this.#verifyPadding('the header', this.#headerEnd, this.#base, hash);
    for (const { name, crc, offset } of this.#entries.values()) {
      const start = this.#base + offset;
      const bytes = new Uint8Array(this.#file.piece(start, this.byteLengthOf(name)));
      if (crcOf(bytes, hash) !== crc)
        throw this.corrupt(`section ${name} to fit its checksum`, 'a damaged one');
      const end = start + bytes.length;
      this.#verifyPadding(`section ${name}`, end, align(end), hash);
      onProgress(end / this.byteLength);
    }
    const found = hash?.digest('hex');
    if (found !== expectedHash) throw this.corrupt(`SHA-256 ${expectedHash}`, `${found}: another file`);
  }

  #verifyPadding(what: string, from: number, to: number, hash: Hash | undefined): void {
    const padding = new Uint8Array(this.#file.piece(from, to - from));
    if (padding.some((byte) => byte !== 0)) throw this.corrupt(`zeros behind ${what}`, 'other bytes');
    hash?.update(padding);
  }

  /** Arrays that were taken stay valid. */
  close(): void {
    this.#file.close();
  }

  corrupt(expected: string, found: string): EspalierError {
    return new EspalierError('ESP_ARTIFACT_CORRUPT', `${this.#name}: expected ${expected}, found ${found}`);
  }

  #entry(name: string): SectionEntry {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw this.corrupt(`a section ${name}`, 'none');
    return entry;
  }

  #readHeader(): { header: Header<Meta>; headerEnd: number } {
    const { byteLength } = this.#file;
    if (byteLength < FIXED_BYTES) throw this.corrupt(`at least ${FIXED_BYTES} bytes`, String(byteLength));
    const fixed = Buffer.from(this.#file.piece(0, FIXED_BYTES));
    const magic = fixed.toString('latin1', 0, MAGIC.length);
    if (magic !== MAGIC) throw this.corrupt(`the magic ${MAGIC}`, JSON.stringify(magic));
    const version = fixed.readUInt32LE(MAGIC.length);
    if (version !== FORMAT_VERSION) throw this.corrupt(`format version ${FORMAT_VERSION}`, String(version));
    const headerBytes = fixed.readUInt32LE(MAGIC.length + 4);
    if (headerBytes > MAX_HEADER_BYTES || FIXED_BYTES + headerBytes > byteLength) {
      throw this.corrupt(`${headerBytes} bytes of header`, `a file of ${byteLength} bytes`);
    }
    const text = Buffer.from(this.#file.piece(FIXED_BYTES, headerBytes));
    if (crc32(text) !== fixed.readUInt32LE(MAGIC.length + 8)) {
      throw this.corrupt('a header that fits its checksum', 'a damaged one');
    }
    let header: unknown;
    try {
      header = JSON.parse(text.toString());
    } catch (cause) {
      throw this.corrupt('a header of JSON', (cause as Error).message);
    }
    if (typeof header !== 'object' || header === null)
      throw this.corrupt('a header with its kind', `${header}`);
    return { header: header as Header<Meta>, headerEnd: FIXED_BYTES + headerBytes };
  }

  /** A checksum keeps accidents out, not malice: whoever wrote the header may have written anything. */
  #checkEntries(sections: unknown): ReadonlyMap<string, SectionEntry> {
    if (!Array.isArray(sections)) throw this.corrupt('a list of sections', typeof sections);
    const entries = new Map<string, SectionEntry>();
    let end = 0;
    for (const entry of sections as Partial<SectionEntry>[]) {
      const { name, dtype, offset, length, crc } = entry ?? {};
      const isWellFormed =
        typeof name === 'string' &&
        !entries.has(name) &&
        Object.hasOwn(arrayTypes, dtype as string) &&
        offset === align(end) &&
        Number.isSafeInteger(length) &&
        length! >= 0 &&
        typeof crc === 'number';
      if (!isWellFormed)
        throw this.corrupt('sections one after the other', `section ${String(name)} that is not`);
      end = offset + length! * arrayTypes[dtype!].BYTES_PER_ELEMENT;
      entries.set(name, entry as SectionEntry);
    }
    const byteLength = this.#base + align(end);
    if (byteLength !== this.#file.byteLength) {
      throw this.corrupt(`${byteLength} bytes`, String(this.#file.byteLength));
    }
    return entries;
  }
}

/** @param hash gets the same bytes */
function crcOf(bytes: Uint8Array, hash?: Hash): number {
  let crc = 0;
  for (const piece of piecesOf(bytes)) {
    crc = crc32(piece, crc);
    hash?.update(piece);
  }
  return crc;
}

function* piecesOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

function dtypeOf(array: SectionArray): Dtype {
  return (Object.keys(arrayTypes) as Dtype[]).find((dtype) => array instanceof arrayTypes[dtype])!;
}

function bytesOf(array: SectionArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}

function padding(offset: number): Uint8Array {
  return new Uint8Array(align(offset) - offset);
}
