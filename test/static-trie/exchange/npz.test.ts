import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readSidRows } from '../../../src/static-trie/exchange/sid-rows.js';
import { seeded } from '../../helpers/seed.js';
import { bytesOf, fileOf, npyBytes, npyHeader } from './arrays.js';

const fixtures = new URL('../../fixtures/static-export/', import.meta.url).pathname;
const sizes = [6, 6, 6];
const expected = Array.from(
  readSidRows(join(fixtures, 'one-layer', 'sids.npy'), sizes).codes as Uint16Array,
  Number,
);
const archive = (name: string) => join(fixtures, 'archives', name);

interface MemberParts {
  method?: number;
  flags?: number;
  crc?: number;
  isWide?: boolean;
  /** What the directory claims of the size, where it is not the truth. */
  byteLength?: number;
}

/** A zip archive of one member, written by hand: zip64 and faults are not to be had from NumPy. */
function zipBytes(
  content: Uint8Array,
  { method = 0, flags = 0, isWide = false, ...parts }: MemberParts,
): Buffer {
  const name = Buffer.from('sids.npy');
  const stored = method === 8 ? deflateRawSync(content) : content;
  const byteLength = parts.byteLength ?? content.length;
  const local = Buffer.alloc(30);
  local.writeUInt32LE(0x04034b50);
  local.writeUInt16LE(name.length, 26);
  const entry = Buffer.alloc(46);
  entry.writeUInt32LE(0x02014b50);
  entry.writeUInt16LE(flags, 8);
  entry.writeUInt16LE(method, 10);
  entry.writeUInt32LE(parts.crc ?? crc32(content), 16);
  entry.writeUInt32LE(isWide ? 0xffffffff : stored.length, 20);
  entry.writeUInt32LE(isWide ? 0xffffffff : byteLength, 24);
  entry.writeUInt16LE(name.length, 28);
  entry.writeUInt32LE(isWide ? 0xffffffff : 0, 42);
  const extra = Buffer.alloc(isWide ? 4 + 5 + 4 + 24 : 0);
  if (isWide) {
    entry.writeUInt16LE(extra.length, 30);
    // Another field stands before the one that counts.
    extra.writeUInt16LE(0x5455, 0);
    extra.writeUInt16LE(5, 2);
    extra.writeUInt16LE(1, 9);
    extra.writeUInt16LE(24, 11);
    extra.writeBigUInt64LE(BigInt(byteLength), 13);
    extra.writeBigUInt64LE(BigInt(stored.length), 21);
  }
  const directory = Buffer.concat([entry, name, extra]);
  const offset = local.length + name.length + stored.length;
  const wideEnd = Buffer.alloc(isWide ? 56 + 20 : 0);
  if (isWide) {
    wideEnd.writeUInt32LE(0x06064b50);
    wideEnd.writeBigUInt64LE(1n, 32);
    wideEnd.writeBigUInt64LE(BigInt(directory.length), 40);
    wideEnd.writeBigUInt64LE(BigInt(offset), 48);
    wideEnd.writeUInt32LE(0x07064b50, 56);
    wideEnd.writeBigUInt64LE(BigInt(offset + directory.length), 64);
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50);
  end.writeUInt16LE(isWide ? 0xffff : 1, 10);
  end.writeUInt32LE(isWide ? 0xffffffff : directory.length, 12);
  end.writeUInt32LE(isWide ? 0xffffffff : offset, 16);
  return Buffer.concat([local, name, stored, directory, wideEnd, end]);
}

const npy = npyBytes(npyHeader('<u2', '(2, 3)'), bytesOf(Uint16Array.of(1, 2, 3, 5, 5, 5)));

function read(bytes: Uint8Array): number[] {
  return Array.from(readSidRows(fileOf(bytes, 'npz'), sizes).codes as Uint16Array, Number);
}

function fault(message: string) {
  return expect.objectContaining({ code: 'ESP_ARRAY_FILE', message: expect.stringContaining(message) });
}

describe('.npz files', () => {
  it.each(['named.npz', 'unnamed.npz', 'single.npz'])('of NumPy give their SIDs: %s', (name) => {
    expect(Array.from(readSidRows(archive(name), sizes).codes as Uint16Array, Number)).toEqual(expected);
  });

  it('with several arrays, none of them called sids, are refused', () => {
    expect(() => readSidRows(archive('unclear.npz'), sizes)).toThrow(
      fault('unclear.npz: expected one array, or one called sids or arr_0, found 2: left, right'),
    );
  });

  it.each([
    ['stored', {}],
    ['deflated', { method: 8 }],
    ['stored with zip64', { isWide: true }],
    ['deflated with zip64', { method: 8, isWide: true }],
  ])('may be %s', (_, parts) => {
    expect(read(zipBytes(npy, parts))).toEqual([1, 2, 3, 5, 5, 5]);
  });

  it('may have a comment at their end', () => {
    const bytes = zipBytes(npy, {});
    bytes.writeUInt16LE(7, bytes.length - 2);
    expect(read(Buffer.concat([bytes, Buffer.from('comment')]))).toEqual([1, 2, 3, 5, 5, 5]);
  });

  it.each([
    ['encryption', zipBytes(npy, { flags: 1 }), 'expected a member that is not encrypted'],
    ['another compression', zipBytes(npy, { method: 12 }), 'found compression method 12'],
    [
      'a wrong checksum',
      zipBytes(npy, { crc: 1 }),
      'expected data that fits its checksum, found damaged data',
    ],
    [
      'a size that is too small',
      zipBytes(npy, { method: 8, byteLength: 20 }),
      'expected 20 bytes of deflated data',
    ],
    [
      'a size that is too large',
      zipBytes(npy, { method: 8, byteLength: 2 ** 31 }),
      'expected 2147483648 bytes, found',
    ],
    ['an absurd size', zipBytes(npy, { byteLength: 2 ** 31 }), 'expected 2147483648 bytes, found'],
    ['something that is no archive', npy, 'expected an .npz file (a zip archive)'],
    ['nothing in them', Buffer.alloc(0), 'expected an .npz file (a zip archive)'],
    ['a member that is no array', zipBytes(Buffer.from('text'), {}), 'expected an .npy file'],
  ])('with %s are refused', (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(fault(message));
  });

  it('that are damaged or end early give SIDs or an error of ours', () => {
    const whole = [
      zipBytes(npy, { isWide: true }),
      zipBytes(npy, { method: 8 }),
      readFileSync(archive('named.npz')),
    ];
    fc.assert(
      fc.property(fc.nat(2), fc.nat(), fc.nat(255), fc.boolean(), (which, place, value, isCut) => {
        const at = place % whole[which].length;
        const bytes = Buffer.from(isCut ? whole[which].subarray(0, at) : whole[which]);
        if (!isCut) bytes[at] = value;
        try {
          expect(read(bytes).every((code) => code < 6)).toBe(true);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: 'ESP_ARRAY_FILE' });
        }
      }),
      seeded('damaged .npz', 1000),
    );
  });
});
