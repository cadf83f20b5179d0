import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { WholeGunzip } from '../../src/static-trie/index.js';

const texts = ['first\n', 'second\n'.repeat(10_000), 'third\n'];
const [first, second, third] = texts.map((text) => gzipSync(text));
const zeros = (count: number) => Buffer.alloc(count);
const damaged = Buffer.from(second);
damaged[0] = 0;

/** What the bytes unpack to, whatever pieces they come in. */
async function unpack(parts: Uint8Array[], pieceLength: number): Promise<string> {
  const bytes = Buffer.concat(parts);
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += pieceLength) {
      yield bytes.subarray(at, at + pieceLength);
      await nextTurn();
    }
  }
  const gunzip = new WholeGunzip();
  // Whoever reads what was unpacked must see the fault before its end.
  pipeline(Readable.from(pieces()), gunzip).catch(() => {});
  return (await buffer(gunzip)).toString();
}

// Bounds of pieces within members, at their ends, and within padding; and all at once.
describe.each([1, 7, first.length, 64, 1 << 20])('gzip in pieces of %i bytes', (pieceLength) => {
  it.each([
    ['one member', [first], texts[0]],
    ['three members', [first, second, third], texts.join('')],
    ['zeros at its end', [first, second, zeros(600)], texts.slice(0, 2).join('')],
    ['one zero at its end', [first, zeros(1)], texts[0]],
  ])('with %s is unpacked', async (_, parts, expected) => {
    expect(await unpack(parts, pieceLength)).toBe(expected);
  });

  it.each([
    ['a zeroed byte where a member begins', [first, damaged, third]],
    ['zeros between members', [first, zeros(512), second]],
    ['one zero between members', [first, zeros(1), second]],
    ['a byte after zeros', [first, zeros(600), Buffer.of(7)]],
  ])('with %s is refused', async (_, parts) => {
    await expect(unpack(parts, pieceLength)).rejects.toMatchObject({ code: 'Z_DATA_ERROR' });
  });

  it.each([
    ['garbage after a member', [first, Buffer.from('garbage')], 'Z_DATA_ERROR'],
    ['a member cut short', [first, second.subarray(0, -5)], 'Z_BUF_ERROR'],
    ['a member cut short, and zeros', [first, second.subarray(0, -5), zeros(4)], 'Z_DATA_ERROR'],
  ])('with %s is refused as ever', async (_, parts, code) => {
    await expect(unpack(parts, pieceLength)).rejects.toMatchObject({ code });
  });
});
