import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EspalierError } from '../../../src/errors.js';
import { chooseKernel, type RowCodes } from '../../../src/kernels/index.js';
import { openNpy, writeNpy } from '../../../src/static-trie/exchange/npy.js';
import { readSidRows } from '../../../src/static-trie/exchange/sid-rows.js';
import { buildStaticTrie, buildTrie } from '../../../src/static-trie/index.js';
import { nativeKernels } from '../../helpers/native.js';
import { seeded } from '../../helpers/seed.js';
import { bytesOf, fileOf, npyBytes, npyHeader } from './arrays.js';

const fixtures = new URL('../../fixtures/static-export/', import.meta.url).pathname;
const sizes = [3, 300];
/** Two rows of two levels. */
const rows = [2, 299, 0, 7];

function sidsFile(descr: string, values: NodeJS.TypedArray, shape = '(2, 2)', version = 1): string {
  return fileOf(npyBytes(npyHeader(descr, shape), bytesOf(values), version));
}

function faultOf(path: string, codebookSizes: number[] = sizes): string {
  try {
    readSidRows(path, codebookSizes);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(EspalierError);
    expect((thrown as EspalierError).code).toBe('ESP_ARRAY_FILE');
    return (thrown as Error).message;
  }
  throw new Error('expected a fault, found none');
}

const numbersOf = (codes: RowCodes) => Array.from(codes as Uint32Array, Number);

describe('.npy files', () => {
  it.each([
    ['<u2', Uint16Array.from(rows), Uint16Array],
    ['<u4', Uint32Array.from(rows), Uint32Array],
    ['<i4', Int32Array.from(rows), Int32Array],
    ['<i8', BigInt64Array.from(rows, BigInt), BigInt64Array],
  ])('give SIDs of dtype %s', (descr, values, type) => {
    const read = readSidRows(sidsFile(descr, values), sizes);
    expect(read.codes).toBeInstanceOf(type);
    expect(numbersOf(read.codes)).toEqual(rows);
    expect(read).toMatchObject({ rowCount: 2, codebookSizes: sizes });
  });

  it('give SIDs of bytes, and of codebooks that need u32', () => {
    expect([...readSidRows(sidsFile('|u1', Uint8Array.of(2, 255, 0, 7)), sizes).codes]).toEqual([
      2, 255, 0, 7,
    ]);
    const wide = readSidRows(sidsFile('<i8', BigInt64Array.of(1n, 262_143n, 0n, 70_000n)), [3, 262_144]);
    expect(numbersOf(wide.codes)).toEqual([1, 262_143, 0, 70_000]);
  });

  it.each([1, 2, 3])('may have a header of version %d', (version) => {
    expect([...readSidRows(sidsFile('<u2', Uint16Array.from(rows), '(2, 2)', version), sizes).codes]).toEqual(
      rows,
    );
  });

  it('of any size are mapped as they lie', () => {
    const count = 3_000_000;
    const unequal = [1, 2, 300];
    const codeAt = (index: number) => (index * 7) % unequal[index % 3];
    const values = new BigInt64Array(count);
    for (let index = 0; index < count; index++) values[index] = BigInt(codeAt(index));
    const { codes } = readSidRows(sidsFile('<i8', values, `(${count / 3}, 3)`), unequal);
    // Compared as bytes: vitest takes half a minute for as many bigints.
    expect([codes.constructor, Buffer.compare(bytesOf(codes), bytesOf(values))]).toEqual([BigInt64Array, 0]);
  });

  it.each([
    ['<u2', Uint16Array.of(2, 299, 3, 7), 'row 1, level 0: code 3 must be < codebook size 3'],
    [
      '<u4',
      Uint32Array.of(2, 2 ** 32 - 1, 0, 7),
      'row 0, level 1: code 4294967295 must be < codebook size 300',
    ],
    ['<i4', Int32Array.of(2, 299, 0, -7), 'row 1, level 1: code -7 must be from 0 to 299'],
    ['<i8', BigInt64Array.of(2n, 299n, -1n, 7n), 'row 1, level 0: code -1 must be from 0 to 2'],
    [
      '<i8',
      BigInt64Array.of(2n, 2n ** 32n, 0n, 7n),
      'row 0, level 1: code 4294967296 must be < codebook size 300',
    ],
    ['<i8', BigInt64Array.of(2n, 300n, 0n, 7n), 'row 0, level 1: code 300 must be < codebook size 300'],
  ])(
    'with a code that is none, of dtype %s, have their row and level named by every builder',
    async (descr, values, message) => {
      const read = readSidRows(sidsFile(descr, values), sizes);
      const refused = expect.objectContaining({ code: 'ESP_SHAPE', message });
      for (const kernel of [chooseKernel('js'), ...nativeKernels]) {
        await expect(buildTrie(read, {}, kernel)).rejects.toThrow(refused);
      }
    },
  );

  const data = bytesOf(Uint16Array.from(rows));
  it.each([
    [
      'another magic',
      Buffer.from('PK\x03\x04 and more of it'),
      'expected an .npy file, found one that begins with "PK',
    ],
    ['nothing in it', Buffer.alloc(0), 'expected an .npy file'],
    [
      'version 4',
      npyBytes(npyHeader('<u2', '(2, 2)'), data, 4),
      'expected version 1, 2 or 3 of the format, found 4',
    ],
    [
      'Fortran order',
      npyBytes(npyHeader('<u2', '(2, 2)', 'True'), data),
      'expected C order, found Fortran order',
    ],
    ['big-endian data', npyBytes(npyHeader('>u2', '(2, 2)'), data), 'found dtype ">u2"'],
    ['floats', npyBytes(npyHeader('<f4', '(1, 2)'), data), 'found dtype "<f4"'],
    ['truth values', npyBytes(npyHeader('|b1', '(4, 2)'), data), 'expected codes, found dtype bool'],
    [
      'records',
      npyBytes("{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (4,), }", data),
      'of a plain array',
    ],
    ['no shape', npyBytes("{'descr': '<u2', 'fortran_order': False}", data), 'of a plain array'],
    ['a negative size', npyBytes(npyHeader('<u2', '(-2, 2)'), data), 'of a plain array'],
    [
      'too little data',
      npyBytes(npyHeader('<u2', '(2, 2)'), data.subarray(1)),
      'expected 8 bytes of data for shape (2, 2) of uint16, found 7',
    ],
    [
      'too much data',
      npyBytes(npyHeader('<u2', '(1, 2)'), data),
      'expected 4 bytes of data for shape (1, 2) of uint16, found 8',
    ],
    [
      'an absurd shape',
      npyBytes(npyHeader('<u2', '(99999999999999999999, 2)'), data),
      'bytes of data for shape (100000000000000000000, 2)',
    ],
    [
      'no rows',
      npyBytes(npyHeader('<u2', '(0, 2)'), new Uint8Array(0)),
      'expected 1 to 2^32 - 2 rows, found 0',
    ],
    [
      'one dimension',
      npyBytes(npyHeader('<u2', '(4,)'), data),
      'expected shape (rows, 2), one column for each codebook, found (4)',
    ],
    [
      'no dimension',
      npyBytes(npyHeader('<u2', '()'), data.subarray(0, 2)),
      'expected shape (rows, 2), one column for each codebook, found ()',
    ],
    ['other columns', npyBytes(npyHeader('<u2', '(1, 4)'), data), 'found (1, 4)'],
  ])('with %s are refused', (_, bytes, message) => {
    expect(faultOf(fileOf(bytes))).toContain(message);
  });

  it('that end anywhere are refused', () => {
    const whole = npyBytes(npyHeader('<u2', '(2, 2)'), data);
    for (let length = 0; length < whole.length; length++) faultOf(fileOf(whole.subarray(0, length)));
  });

  it('with a damaged byte give SIDs or an error of ours', () => {
    const whole = npyBytes(npyHeader('<i8', '(2, 2)'), bytesOf(BigInt64Array.from(rows, BigInt)));
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, value) => {
        const bytes = Buffer.from(whole);
        bytes[at] = value;
        try {
          const { rows: leaves } = buildStaticTrie(readSidRows(fileOf(bytes), sizes)).trie;
          expect([...leaves].every((code, index) => code < sizes[index % 2])).toBe(true);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: expect.stringMatching(/^ESP_(ARRAY_FILE|SHAPE)$/) });
        }
      }),
      seeded('damaged .npy', 300),
    );
  });

  it('are written as numpy.save writes them', () => {
    for (const name of ['packed_csr', 'indptr', 'layer_max_branches', 'start_mask', 'dense_mask']) {
      const path = join(fixtures, 'two-layers', `${name}.npy`);
      const array = openNpy(path);
      const copy = join(dirname(fileOf(Buffer.alloc(0))), `copy-${name}.npy`);
      writeNpy(copy, array.dtype, array.shape, array.take(array.dtype));
      array.close();
      expect(readFileSync(copy).equals(readFileSync(path))).toBe(true);
    }
  });
});
