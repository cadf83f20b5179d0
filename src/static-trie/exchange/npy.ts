import { basename } from 'node:path';
import { describe, EspalierError } from '../../errors.js';
import { writeDurably } from '../durable-file.js';
import { MappedFile } from '../mapped-file.js';

/*
 * NumPy's format for one array: magic, version, header length (u16 in version 1, u32 from version 2 on), a header
 * that is a Python dict, and the data. C order and little-endian only, which is what NumPy writes here.
 * See https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
const MAGIC = '\x93NUMPY';
const MAX_HEADER_BYTES = 1 << 16;
const ALIGNMENT = 64;
/** 16 MiB: a whole number of entries of every type. */
const PIECE_BYTES = 1 << 24;

const npyTypes = {
  bool: { descr: '|b1', array: Uint8Array },
  uint8: { descr: '|u1', array: Uint8Array },
  uint16: { descr: '<u2', array: Uint16Array },
  uint32: { descr: '<u4', array: Uint32Array },
  int32: { descr: '<i4', array: Int32Array },
  int64: { descr: '<i8', array: BigInt64Array },
} as const;
export type NpyDtype = keyof typeof npyTypes;

interface NpyDataTypes {
  bool: Uint8Array;
  uint8: Uint8Array;
  uint16: Uint16Array;
  uint32: Uint32Array;
  int32: Int32Array;
  int64: BigInt64Array;
}
type NpyData<Dtype extends NpyDtype> = NpyDataTypes[Dtype];

/** Where an array's bytes come from: a mapped file, or a member of an archive. */
export interface ByteSource {
  readonly byteLength: number;
  /** The bytes [offset, offset + length), alone in an ArrayBuffer; not to be written to. */
  piece(offset: number, length: number): ArrayBuffer;
  close(): void;
}

/** An array whose header has been checked against the size of its data. */
export interface NpyArray {
  /** For messages: the file's name. */
  name: string;
  dtype: NpyDtype;
  shape: readonly number[];
  /** Entries. */
  length: number;
  /** All entries at once, mapped where the source is; the caller names the dtype that it has found. */
  take<Dtype extends NpyDtype>(dtype: Dtype): NpyData<Dtype>;
  /** The same entries one piece after the other, so that converting them needs no second copy. */
  pieces<Dtype extends NpyDtype>(dtype: Dtype): Generator<NpyData<Dtype>>;
  /** Arrays that were taken stay valid. */
  close(): void;
}

/** @throws EspalierError ESP_ARRAY_FILE on anything but a whole array of a type that is read here. */
export function openNpy(path: string): NpyArray {
  const file = new MappedFile(path);
  try {
    return openNpySource(basename(path), file);
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}

/** The array takes the source over; when this throws, it is still the caller's to close. */
export function openNpySource(name: string, source: ByteSource): NpyArray {
  const { dtype, shape, dataStart } = readHeader(name, source);
  const length = shape.reduce((product, size) => product * size, 1);
  const dataBytes = length * npyTypes[dtype].array.BYTES_PER_ELEMENT;
  const foundBytes = source.byteLength - dataStart;
  if (dataBytes !== foundBytes) {
    const expected = `${dataBytes} bytes of data for shape (${shape.join(', ')}) of ${dtype}`;
    throw arrayFault(name, expected, `${foundBytes}`);
  }
  const viewOf = <Dtype extends NpyDtype>(wanted: Dtype, offset: number, byteLength: number) => {
    if (wanted !== dtype) throw new Error(`${name} holds ${dtype}, asked for ${wanted}`);
    return new npyTypes[wanted].array(source.piece(dataStart + offset, byteLength)) as NpyData<Dtype>;
  };
  return {
    name,
    dtype,
    shape,
    length,
    take: (wanted) => viewOf(wanted, 0, dataBytes),
    *pieces(wanted) {
      for (let at = 0; at < dataBytes; at += PIECE_BYTES) {
        yield viewOf(wanted, at, Math.min(PIECE_BYTES, dataBytes - at));
      }
    },
    close: () => source.close(),
  };
}

/** Writes the same bytes as numpy.save, durably. */
export function writeNpy<Dtype extends NpyDtype>(
  path: string,
  dtype: Dtype,
  shape: readonly number[],
  data: NpyData<Dtype>,
): void {
  writeDurably(path, npyChunks(dtype, shape, data));
}

function* npyChunks(
  dtype: NpyDtype,
  shape: readonly number[],
  data: NpyData<NpyDtype>,
): Generator<Uint8Array> {
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
  const dict = `{'descr': '${npyTypes[dtype].descr}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const fixedBytes = MAGIC.length + 4;
  const totalBytes = Math.ceil((fixedBytes + dict.length + 1) / ALIGNMENT) * ALIGNMENT;
  const header = Buffer.alloc(totalBytes, ' ');
  header.write(MAGIC, 'latin1');
  header.writeUInt16LE(1, MAGIC.length);
  header.writeUInt16LE(totalBytes - fixedBytes, MAGIC.length + 2);
  header.write(dict, fixedBytes, 'latin1');
  header.write('\n', totalBytes - 1);
  yield header;
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

export function arrayFault(name: string, expected: string, found: string): EspalierError {
  return new EspalierError('ESP_ARRAY_FILE', `${name}: expected ${expected}, found ${found}`);
}

function readHeader(
  name: string,
  source: ByteSource,
): { dtype: NpyDtype; shape: number[]; dataStart: number } {
  const start = Buffer.from(source.piece(0, Math.min(MAGIC.length + 6, source.byteLength)));
  const magic = start.toString('latin1', 0, MAGIC.length);
  if (magic !== MAGIC) throw arrayFault(name, 'an .npy file', `one that begins with ${describe(magic)}`);
  if (start.length < MAGIC.length + 6) throw arrayFault(name, 'a header', 'the end of the file');
  const version = start[MAGIC.length];
  if (version < 1 || version > 3) throw arrayFault(name, 'version 1, 2 or 3 of the format', `${version}`);
  const lengthBytes = version === 1 ? 2 : 4;
  const headerBytes = start.readUIntLE(MAGIC.length + 2, lengthBytes);
  const headerStart = MAGIC.length + 2 + lengthBytes;
  const dataStart = headerStart + headerBytes;
  if (headerBytes > MAX_HEADER_BYTES || dataStart > source.byteLength) {
    throw arrayFault(name, `a header of ${headerBytes} bytes`, `a file of ${source.byteLength} bytes`);
  }
  const header = Buffer.from(source.piece(headerStart, headerBytes)).toString('utf8').trim();
  return { ...parseHeader(name, header), dataStart };
}

function parseHeader(name: string, header: string): { dtype: NpyDtype; shape: number[] } {
  const descr = /'descr'\s*:\s*'([^']*)'/.exec(header)?.[1];
  const fortranOrder = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const sizes = /'shape'\s*:\s*\(([\d,\s]*)\)/.exec(header)?.[1];
  if (descr === undefined || fortranOrder === undefined || sizes === undefined) {
    const expected = 'a header with the descr, fortran_order and shape of a plain array';
    throw arrayFault(name, expected, describe(header));
  }
  const dtype = (Object.keys(npyTypes) as NpyDtype[]).find((one) => npyTypes[one].descr === descr);
  if (dtype === undefined) {
    throw arrayFault(name, `little-endian ${Object.keys(npyTypes).join(', ')}`, `dtype ${describe(descr)}`);
  }
  if (fortranOrder === 'True') throw arrayFault(name, 'C order', 'Fortran order');
  const shape = sizes
    .split(',')
    .map((size) => size.trim())
    .filter((size) => size !== '')
    .map(Number);
  return { dtype, shape };
}
