import { basename } from 'node:path';
import { crc32, inflateRawSync } from 'node:zlib';
import { MappedFile } from '../mapped-file.js';
import { arrayFault, type ByteSource, type NpyArray, openNpySource } from './npy.js';

/*
 * An .npz is a zip archive of .npy members, stored (numpy.savez) or deflated (numpy.savez_compressed). Only the
 * central directory at the end is trusted for sizes and places; zip64 is read, encryption and spanning are not.
 * See https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3.7, 4.3.12 to 4.3.16 and 4.5.3.
 */
const END_SIGNATURE = 0x06054b50;
const END_BYTES = 22;
const MAX_COMMENT_BYTES = 0xffff;
const LOCATOR_SIGNATURE = 0x07064b50;
const LOCATOR_BYTES = 20;
const END64_SIGNATURE = 0x06064b50;
const END64_BYTES = 56;
const ENTRY_SIGNATURE = 0x02014b50;
const ENTRY_BYTES = 46;
const LOCAL_SIGNATURE = 0x04034b50;
const LOCAL_BYTES = 30;
const ZIP64_EXTRA = 1;
const ENCRYPTED_FLAG = 1;
const STORED = 0;
const DEFLATED = 8;
const MAX_DIRECTORY_BYTES = 1 << 24;
const PIECE_BYTES = 1 << 24;

/** What numpy.savez calls an array that was given without a name, and what ours are called with one. */
const PREFERRED = ['sids.npy', 'arr_0.npy'];

interface Member {
  name: string;
  method: number;
  isEncrypted: boolean;
  crc: number;
  storedBytes: number;
  byteLength: number;
  /** Of the local header, from the start of the file. */
  offset: number;
}

/**
 * The archive's only array, or the one called `sids` or `arr_0`. A stored array is mapped as it lies there; a
 * deflated one is inflated into memory.
 * @throws EspalierError ESP_ARRAY_FILE
 */
export function openNpz(path: string): NpyArray {
  const archive = basename(path);
  const file = new MappedFile(path);
  try {
    const member = chooseMember(archive, readDirectory(archive, file));
    const name = `${archive}/${member.name}`;
    return openNpySource(name, openMember(name, file, member));
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}

function chooseMember(archive: string, members: readonly Member[]): Member {
  const arrays = members.filter(({ name }) => name.endsWith('.npy'));
  const preferred = PREFERRED.map((name) => arrays.find((member) => member.name === name));
  const chosen = arrays.length === 1 ? arrays[0] : preferred.find((member) => member !== undefined);
  if (chosen !== undefined) return chosen;
  const names = arrays.map(({ name }) => name.slice(0, -'.npy'.length)).slice(0, 8);
  const found = arrays.length === 0 ? 'none' : `${arrays.length}: ${names.join(', ')}`;
  throw arrayFault(archive, 'one array, or one called sids or arr_0', found);
}

function openMember(name: string, file: MappedFile, member: Member): ByteSource {
  const { method, storedBytes, byteLength, isEncrypted } = member;
  if (isEncrypted) throw arrayFault(name, 'a member that is not encrypted', 'an encrypted one');
  if (method !== STORED && method !== DEFLATED) {
    throw arrayFault(name, 'a stored or deflated member', `compression method ${method}`);
  }
  const start = dataStartOf(name, file, member);
  let source: ByteSource;
  if (method === STORED) {
    if (storedBytes !== byteLength) throw arrayFault(name, `${byteLength} bytes`, `${storedBytes}`);
    const piece = (offset: number, length: number) => file.piece(start + offset, length);
    source = { byteLength, piece, close: () => file.close() };
  } else {
    const bytes = inflate(name, file.piece(start, storedBytes), byteLength);
    const piece = (offset: number, length: number) =>
      bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + offset + length) as ArrayBuffer;
    source = { byteLength, piece, close: () => file.close() };
  }
  let crc = 0;
  for (let at = 0; at < byteLength; at += PIECE_BYTES) {
    crc = crc32(new Uint8Array(source.piece(at, Math.min(PIECE_BYTES, byteLength - at))), crc);
  }
  if (crc !== member.crc) throw arrayFault(name, 'data that fits its checksum', 'damaged data');
  return source;
}

function inflate(name: string, stored: ArrayBuffer, byteLength: number): Buffer {
  let bytes: Buffer;
  try {
    bytes = inflateRawSync(stored, { maxOutputLength: Math.max(1, byteLength) });
  } catch (cause) {
    throw arrayFault(name, `${byteLength} bytes of deflated data`, (cause as Error).message);
  }
  if (bytes.length !== byteLength) throw arrayFault(name, `${byteLength} bytes`, `${bytes.length}`);
  return bytes;
}

function readDirectory(archive: string, file: MappedFile): Member[] {
  const { offset, byteLength, count } = findDirectory(archive, file);
  if (byteLength > MAX_DIRECTORY_BYTES || offset + byteLength > file.byteLength) {
    throw arrayFault(archive, `a directory of ${byteLength} bytes at ${offset}`, `${file.byteLength} bytes`);
  }
  const directory = Buffer.from(file.piece(offset, byteLength));
  const members: Member[] = [];
  for (let at = 0; members.length < count; ) {
    const isEntry = at + ENTRY_BYTES <= directory.length && directory.readUInt32LE(at) === ENTRY_SIGNATURE;
    const nameBytes = isEntry ? directory.readUInt16LE(at + 28) : 0;
    const extraBytes = isEntry ? directory.readUInt16LE(at + 30) : 0;
    const end = at + ENTRY_BYTES + nameBytes + extraBytes + (isEntry ? directory.readUInt16LE(at + 32) : 0);
    if (!isEntry || end > directory.length) {
      throw arrayFault(archive, `${count} members in the directory`, `${members.length}`);
    }
    const nameStart = at + ENTRY_BYTES;
    const extra = directory.subarray(nameStart + nameBytes, nameStart + nameBytes + extraBytes);
    const sizes = { byteLength: at + 24, storedBytes: at + 20, offset: at + 42 };
    members.push({
      name: directory.toString('utf8', nameStart, nameStart + nameBytes),
      isEncrypted: (directory.readUInt16LE(at + 8) & ENCRYPTED_FLAG) !== 0,
      method: directory.readUInt16LE(at + 10),
      crc: directory.readUInt32LE(at + 16),
      ...readSizes(archive, directory, sizes, extra),
    });
    at = end;
  }
  return members;
}

/** Sizes that do not fit 32 bits are all ones there, and stand in the zip64 extra field, in this order. */
function readSizes<Key extends string>(
  archive: string,
  directory: Buffer,
  places: Record<Key, number>,
  extra: Buffer,
): Record<Key, number> {
  const wide = zip64Field(extra);
  let at = 0;
  const sizes = {} as Record<Key, number>;
  for (const [key, place] of Object.entries(places) as [Key, number][]) {
    sizes[key] = directory.readUInt32LE(place);
    if (sizes[key] !== 0xffffffff) continue;
    if (at + 8 > wide.length) throw arrayFault(archive, 'sizes of 64 bits', 'a directory without them');
    sizes[key] = Number(wide.readBigUInt64LE(at));
    at += 8;
  }
  return sizes;
}

function zip64Field(extra: Buffer): Buffer {
  for (let at = 0; at + 4 <= extra.length; ) {
    const byteLength = extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) === ZIP64_EXTRA) return extra.subarray(at + 4, at + 4 + byteLength);
    at += 4 + byteLength;
  }
  return Buffer.alloc(0);
}

/** The record at the very end, behind which only a comment may stand, says where the directory is. */
function findDirectory(
  archive: string,
  file: MappedFile,
): { offset: number; byteLength: number; count: number } {
  const tailBytes = Math.min(file.byteLength, END_BYTES + MAX_COMMENT_BYTES);
  const tailStart = file.byteLength - tailBytes;
  const tail = Buffer.from(file.piece(tailStart, tailBytes));
  let end = tail.length - END_BYTES;
  while (end >= 0 && tail.readUInt32LE(end) !== END_SIGNATURE) end--;
  if (end < 0) throw arrayFault(archive, 'an .npz file (a zip archive)', 'none, or a truncated one');
  const locator = tailStart + end - LOCATOR_BYTES;
  const wideOffset = locator < 0 ? undefined : wideEndOffset(file, locator);
  if (wideOffset === undefined) {
    return {
      count: tail.readUInt16LE(end + 10),
      byteLength: tail.readUInt32LE(end + 12),
      offset: tail.readUInt32LE(end + 16),
    };
  }
  const wide = readRecord(archive, file, wideOffset, END64_BYTES, END64_SIGNATURE);
  return {
    count: Number(wide.readBigUInt64LE(32)),
    byteLength: Number(wide.readBigUInt64LE(40)),
    offset: Number(wide.readBigUInt64LE(48)),
  };
}

function wideEndOffset(file: MappedFile, locator: number): number | undefined {
  const record = Buffer.from(file.piece(locator, LOCATOR_BYTES));
  return record.readUInt32LE(0) === LOCATOR_SIGNATURE ? Number(record.readBigUInt64LE(8)) : undefined;
}

/** The local header repeats the name, and has extra fields of its own. */
function dataStartOf(name: string, file: MappedFile, { offset, storedBytes }: Member): number {
  const local = readRecord(name, file, offset, LOCAL_BYTES, LOCAL_SIGNATURE);
  const start = offset + LOCAL_BYTES + local.readUInt16LE(26) + local.readUInt16LE(28);
  if (start + storedBytes > file.byteLength) {
    throw arrayFault(name, `${storedBytes} bytes at ${start}`, `a file of ${file.byteLength} bytes`);
  }
  return start;
}

function readRecord(
  name: string,
  file: MappedFile,
  offset: number,
  byteLength: number,
  signature: number,
): Buffer {
  if (offset + byteLength <= file.byteLength) {
    const record = Buffer.from(file.piece(offset, byteLength));
    if (record.readUInt32LE(0) === signature) return record;
  }
  throw arrayFault(name, `the zip record ${signature.toString(16)} at ${offset}`, 'something else');
}
