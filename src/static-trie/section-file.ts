import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { crc32 } from 'node:zlib';
import { EspalierError } from '../errors.js';
import { writeDurably } from './durable-file.js';

/*
 * A file of named typed arrays:
 *   magic "ESPALIER", format version (u32), header length (u32), header crc (u32), header (JSON),
 *   then the sections, each at a multiple of 64 bytes. Little-endian throughout.
 */
const MAGIC = 'ESPALIER';
const FORMAT_VERSION = 1;
const FIXED_BYTES = MAGIC.length + 12;
const ALIGNMENT = 64;

const arrayTypes = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, f64: Float64Array } as const;
type Dtype = keyof typeof arrayTypes;
export type SectionArray = Uint8Array | Uint16Array | Uint32Array | Float64Array;

export interface SectionFile<Meta> {
  meta: Meta;
  sections: ReadonlyMap<string, SectionArray>;
}

interface Header<Meta> {
  kind: string;
  meta: Meta;
  sections: { name: string; dtype: Dtype; offset: number; length: number; crc: number }[];
}

export function writeSectionFile<Meta>(path: string, kind: string, file: SectionFile<Meta>): void {
  const arrays = [...file.sections.entries()];
  let offset = 0;
  const sections = arrays.map(([name, array]) => {
    const section = { name, dtype: dtypeOf(array), offset, length: array.length, crc: crc32(bytesOf(array)) };
    offset = align(offset + array.byteLength);
    return section;
  });
  const header = Buffer.from(JSON.stringify({ kind, meta: file.meta, sections } satisfies Header<Meta>));
  const fixed = Buffer.alloc(FIXED_BYTES);
  fixed.write(MAGIC, 0, 'latin1');
  fixed.writeUInt32LE(FORMAT_VERSION, MAGIC.length);
  fixed.writeUInt32LE(header.length, MAGIC.length + 4);
  fixed.writeUInt32LE(crc32(header), MAGIC.length + 8);
  const headerEnd = FIXED_BYTES + header.length;
  writeDurably(path, [
    fixed,
    header,
    padding(headerEnd),
    ...arrays.flatMap(([, array]) => [bytesOf(array), padding(array.byteLength)]),
  ]);
}

/** @throws EspalierError ESP_ARTIFACT_CORRUPT on a file that is truncated, damaged or of another kind. */
export function readSectionFile<Meta>(path: string, kind: string): SectionFile<Meta> {
  const bytes = readAligned(path);
  const corrupt = (expected: string, found: string) =>
    new EspalierError('ESP_ARTIFACT_CORRUPT', `${basename(path)}: expected ${expected}, found ${found}`);
  if (bytes.length < FIXED_BYTES) throw corrupt(`at least ${FIXED_BYTES} bytes`, String(bytes.length));
  const magic = bytes.toString('latin1', 0, MAGIC.length);
  if (magic !== MAGIC) throw corrupt(`the magic ${MAGIC}`, JSON.stringify(magic));
  const version = bytes.readUInt32LE(MAGIC.length);
  if (version !== FORMAT_VERSION) throw corrupt(`format version ${FORMAT_VERSION}`, String(version));
  const headerEnd = FIXED_BYTES + bytes.readUInt32LE(MAGIC.length + 4);
  if (headerEnd > bytes.length) throw corrupt(`${headerEnd} bytes of header`, String(bytes.length));
  const headerBytes = bytes.subarray(FIXED_BYTES, headerEnd);
  if (crc32(headerBytes) !== bytes.readUInt32LE(MAGIC.length + 8)) {
    throw corrupt('a header that fits its checksum', 'a damaged one');
  }
  const header = JSON.parse(headerBytes.toString()) as Header<Meta>;
  if (header.kind !== kind) throw corrupt(`a file of kind ${kind}`, header.kind);
  const base = align(headerEnd);
  const sections = new Map<string, SectionArray>();
  for (const { name, dtype, offset, length, crc } of header.sections) {
    const type = arrayTypes[dtype];
    const end = base + offset + length * type.BYTES_PER_ELEMENT;
    if (end > bytes.length) throw corrupt(`${end} bytes for section ${name}`, String(bytes.length));
    const array = new type(bytes.buffer as ArrayBuffer, bytes.byteOffset + base + offset, length);
    if (crc32(bytesOf(array)) !== crc) throw corrupt(`section ${name} to fit its checksum`, 'a damaged one');
    sections.set(name, array);
  }
  return { meta: header.meta, sections };
}

/** The file's bytes in a buffer of their own, so that 8-byte elements are aligned. */
function readAligned(path: string): Buffer {
  const bytes = readFileSync(path);
  return bytes.byteOffset % ALIGNMENT === 0 ? bytes : Buffer.from(new Uint8Array(bytes).buffer);
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
