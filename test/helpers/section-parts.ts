import { crc32 } from 'node:zlib';

/* Reads and writes section files byte by byte, to make files that the product would never write. */

export interface Section {
  name: string;
  dtype: string;
  data: Buffer;
}

export interface Parts {
  kind: string;
  meta: unknown;
  sections: Section[];
  /** In the place of the header that the rest gives. */
  header?: string;
}

const MAGIC = 'ESPALIER';
const FIXED_BYTES = 20;
const ALIGNMENT = 64;
const arrayTypes: Record<
  string,
  Uint8ArrayConstructor | Uint16ArrayConstructor | Uint32ArrayConstructor | Float64ArrayConstructor
> = { u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, f64: Float64Array };

export function readParts(bytes: Buffer): Parts {
  const headerEnd = FIXED_BYTES + bytes.readUInt32LE(12);
  const { kind, meta, sections } = JSON.parse(bytes.toString('utf8', FIXED_BYTES, headerEnd));
  return {
    kind,
    meta,
    sections: sections.map((entry: { name: string; dtype: string; offset: number; length: number }) => {
      const { name, dtype, offset, length } = entry;
      const start = align(headerEnd) + offset;
      const data = Buffer.from(bytes.subarray(start, start + length * arrayTypes[dtype].BYTES_PER_ELEMENT));
      return { name, dtype, data };
    }),
  };
}

/** With lengths, offsets and checksums that fit, unless `header` says otherwise. */
export function writeParts({ kind, meta, sections, header }: Parts): Buffer {
  let offset = 0;
  const entries = sections.map(({ name, dtype, data }) => {
    const length = Math.floor(data.length / arrayTypes[dtype].BYTES_PER_ELEMENT);
    const bytes = data.subarray(0, length * arrayTypes[dtype].BYTES_PER_ELEMENT);
    const entry = { name, dtype, offset, length, crc: crc32(bytes) };
    offset = align(offset + bytes.length);
    return { entry, bytes };
  });
  const text = Buffer.from(
    header ?? JSON.stringify({ kind, meta, sections: entries.map(({ entry }) => entry) }),
  );
  const fixed = Buffer.alloc(FIXED_BYTES);
  fixed.write(MAGIC, 0, 'latin1');
  fixed.writeUInt32LE(2, 8);
  fixed.writeUInt32LE(text.length, 12);
  fixed.writeUInt32LE(crc32(text), 16);
  return Buffer.concat([padded(Buffer.concat([fixed, text])), ...entries.map(({ bytes }) => padded(bytes))]);
}

/** A section's entries, in an array of their own. */
export function dataOf({ dtype, data }: Section): Uint8Array | Uint16Array | Uint32Array | Float64Array {
  return new arrayTypes[dtype](Uint8Array.from(data).buffer);
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(align(bytes.length) - bytes.length)]);
}

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}
