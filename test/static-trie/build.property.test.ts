import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RowCodes } from '../../src/kernels/index.js';
import { type BuiltTrie, buildStaticTrie, buildTrie } from '../../src/static-trie/index.js';
import { nativeKernels, noNative } from '../helpers/native.js';
import { Random } from '../helpers/random.js';
import { randomRows } from '../helpers/random-rows.js';
import { seeded } from '../helpers/seed.js';

function expectSameTrie(native: BuiltTrie, reference: BuiltTrie): void {
  // toEqual compares typed arrays one by one through iterators, which takes most of the test's time.
  const bytes = (value: unknown): unknown => {
    if (ArrayBuffer.isView(value)) {
      const view = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      return `${value.constructor.name} ${view.toString('base64')}`;
    }
    if (Array.isArray(value)) return value.map(bytes);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, bytes(inner)]));
  };
  expect(bytes(native)).toEqual(bytes(reference));
}

describe.skipIf(noNative)('the native builder against the js builder', () => {
  it.each(nativeKernels.map((kernel) => [kernel.name, kernel] as const))(
    'makes the same trie in every bit, %s',
    async (name, kernel) => {
      await fc.assert(
        fc.asyncProperty(fc.integer(), async (caseSeed) => {
          const random = new Random(caseSeed);
          const rows = randomRows(random);
          const threads = random.pick([1, 2, 3]);
          expectSameTrie(await buildTrie(rows, { threads }, kernel), buildStaticTrie(rows));
        }),
        seeded(`native builder, ${name}`, 250),
      );
    },
  );

  it.each(nativeKernels.map((kernel) => [kernel.name, kernel] as const))(
    'makes the same trie of rows that do not fit the cache, %s',
    async (_, kernel) => {
      // More than the 32,768 keys of one sort: buckets, skew that overfills one of them, and duplicates.
      for (const [levels, size, used] of [
        [8, 2048, 2048],
        [3, 256, 256],
        [4, 65_536, 40],
        [16, 2048, 4],
        [2, 100_000, 100_000],
      ]) {
        const random = new Random(levels * size);
        const rowCount = 150_000;
        const codes = new Uint32Array(rowCount * levels);
        for (let index = 0; index < codes.length; index++) {
          codes[index] = random.chance(0.6) && index % levels === 0 ? 7 : random.below(used);
        }
        const rows = { codebookSizes: new Array(levels).fill(size), rowCount, codes };
        const reference = buildStaticTrie(rows);
        for (const threads of [1, 2, 5])
          expectSameTrie(await buildTrie(rows, { threads }, kernel), reference);
      }
    },
  );
});

describe.skipIf(noNative)('the native builder', () => {
  const [kernel] = nativeKernels.slice(-1);
  const twoLevels = (codes: RowCodes, codebookSizes = [3, 300]) => ({
    codebookSizes,
    rowCount: codes.length / codebookSizes.length,
    codes,
  });

  it.each([
    [
      'a code at its codebook size',
      twoLevels(Uint16Array.of(1, 2, 2, 300)),
      'row 1, level 1: code 300 must be < codebook size 300',
    ],
    ['a negative code', twoLevels(Int32Array.of(1, 2, -1, 3)), 'row 1, level 0: code -1 must be from 0 to 2'],
    [
      'a negative 64-bit code',
      twoLevels(BigInt64Array.of(0n, -(2n ** 40n))),
      'row 0, level 1: code -1099511627776 must be from 0 to 299',
    ],
    [
      'no rows',
      { codebookSizes: [3], rowCount: 0, codes: new Uint16Array(0) },
      'rows must be 1 to 4294967294, found 0',
    ],
    [
      'rows of uneven length',
      { codebookSizes: [3, 3], rowCount: 2, codes: Uint16Array.of(0, 1, 2) },
      '2 rows of 2 codes need 4 entries, found 3',
    ],
    [
      'no levels',
      { codebookSizes: [], rowCount: 0, codes: new Uint16Array(0) },
      'levels must be 1 to 32, found 0',
    ],
    [
      'a codebook that is too large',
      { codebookSizes: [262_145], rowCount: 1, codes: Uint16Array.of(1) },
      'codebook sizes must be 1 to 262144, found 262145',
    ],
  ])('refuses %s, in the words of the js builder', async (_, rows, message) => {
    const refused = expect.objectContaining({ code: 'ESP_SHAPE', message });
    await expect(buildTrie(rows, {}, kernel)).rejects.toThrow(refused);
    expect(() => buildStaticTrie(rows)).toThrow(refused);
  });

  it('refuses more rows than can be numbered', async () => {
    const rows = { codebookSizes: [3], rowCount: 2 ** 32 - 1, codes: new Uint8Array(1) };
    await expect(buildTrie(rows, {}, kernel)).rejects.toThrow(expect.objectContaining({ code: 'ESP_SHAPE' }));
  });

  it('refuses shared and detached rows', async () => {
    const shared = new Uint16Array(new SharedArrayBuffer(8));
    await expect(buildTrie(twoLevels(shared), {}, kernel)).rejects.toThrow(
      'codes must not lie in shared memory',
    );
    const detached = Uint16Array.of(0, 1);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    await expect(
      buildTrie({ codebookSizes: [3, 300], rowCount: 1, codes: detached }, {}, kernel),
    ).rejects.toThrow('codes has been detached');
  });

  it('says how far it is and stops when it is told to', async () => {
    const codes = new Uint16Array(8 * 3_000_000);
    const random = new Random(5);
    for (let index = 0; index < codes.length; index++) codes[index] = random.below(2048);
    const rows = { codebookSizes: new Array(8).fill(2048), rowCount: 3_000_000, codes };
    const controller = new AbortController();
    const phases: [string, number][] = [];
    const build = buildTrie(
      rows,
      {
        threads: 1,
        signal: controller.signal,
        onProgress: (phase, fraction) => {
          phases.push([phase, fraction]);
          if (phase !== 'building') controller.abort();
        },
      },
      kernel,
    );
    // A machine that builds within the first look at the progress has nothing to cancel.
    const outcome = await build.catch((thrown: unknown) => thrown);
    if (controller.signal.aborted) expect(outcome).toMatchObject({ code: 'ESP_CANCELLED' });
    for (const [, fraction] of phases) expect(fraction).toBeGreaterThanOrEqual(0);
    const early = AbortSignal.abort();
    await expect(buildTrie(rows, { signal: early }, kernel)).rejects.toThrow(
      expect.objectContaining({ code: 'ESP_CANCELLED' }),
    );
  });
});
