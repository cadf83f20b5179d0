import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { TrieArrays } from '../../../src/kernels/index.js';
import { writeNpy } from '../../../src/static-trie/exchange/npy.js';
import { planExport, type StaticCsr } from '../../../src/static-trie/exchange/static-csr.js';
import {
  buildStaticTrie,
  exportStatic,
  importStatic,
  readSidRows,
  readStaticFolder,
  writeStaticFolder,
} from '../../../src/static-trie/index.js';
import { Random } from '../../helpers/random.js';
import { randomCatalog } from '../../helpers/random-catalog.js';
import { seeded } from '../../helpers/seed.js';

const fixtures = new URL('../../fixtures/static-export/', import.meta.url).pathname;
const cases = readdirSync(fixtures).filter((name) => name !== 'archives');
const arrays = ['packed_csr', 'indptr', 'layer_max_branches', 'start_mask', 'dense_mask', 'dense_states'];

function newFolder(): string {
  return mkdtempSync(join(tmpdir(), 'espalier-static-'));
}

function openCase(name: string): { trie: TrieArrays; vocabSize: number; denseLookupLayers: 1 | 2 } {
  const settings = JSON.parse(readFileSync(join(fixtures, name, 'settings.json'), 'utf8'));
  const path = join(fixtures, name, 'sids.npy');
  const levelCount = Number(/'shape': \(\d+, (\d+)\)/.exec(readFileSync(path, 'latin1'))?.[1]);
  const sizes = new Array<number>(levelCount).fill(settings.vocabSize);
  return { trie: buildStaticTrie(readSidRows(path, sizes)).trie, ...settings };
}

/** A random trie that the reference can hold, and how it holds it. */
function randomExport(random: Random): { trie: TrieArrays; csr: StaticCsr } | undefined {
  const { trie } = randomCatalog(random);
  const denseLookupLayers = random.pick([1, 2] as const);
  if (trie.levelCount <= denseLookupLayers) return undefined;
  const vocabSize = Math.max(...trie.codebookSizes) + random.below(3);
  return { trie, csr: exportStatic(trie, { vocabSize, denseLookupLayers }) };
}

describe('the export for STATIC', () => {
  it.each(cases)('writes what the reference builds, to the last byte: %s', (name) => {
    const { trie, ...options } = openCase(name);
    const folder = newFolder();
    writeStaticFolder(folder, exportStatic(trie, options));
    expect(readdirSync(folder).sort()).toEqual(arrays.map((array) => `${array}.npy`).sort());
    for (const array of arrays) {
      const expected = readFileSync(join(fixtures, name, `${array}.npy`));
      expect(readFileSync(join(folder, `${array}.npy`)).equals(expected), array).toBe(true);
    }
  });

  const options = { vocabSize: 10, denseLookupLayers: 2 } as const;
  it.each([
    [[10, 11, 10], [1, 1, 1], options, 'level 1: codebook size 11 must be <= vocabulary size 10'],
    [[10, 10], [1, 1], options, '2 dense lookup layers need SIDs of more levels than that, found 2'],
    [
      [10],
      [1],
      { ...options, denseLookupLayers: 1 },
      '1 dense lookup layers need SIDs of more levels than that, found 1',
    ],
    [
      [10, 10, 10, 10],
      [1, 1, 1, 1],
      { ...options, denseLookupLayers: 3 },
      'dense lookup layers must be 1 or 2, found 3',
    ],
    [
      [10, 10, 10],
      [1, 1, 1],
      { ...options, vocabSize: 0 },
      'vocabulary size must be 1 to 2147483647, found 0',
    ],
    [[10, 10, 10], [1, 1, 1], { ...options, vocabSize: 10.5 }, 'found 10.5'],
    [[10, 10, 10], [0, 0, 0], options, 'a trie without SIDs'],
    [
      [10, 10, 10],
      [1, 1, 1],
      { ...options, vocabSize: 32_769 },
      'need tables of 1073807361 entries; at most 1073741824 are made',
    ],
    [
      [10, 10, 10],
      [10, 2 ** 30, 2 ** 30],
      options,
      '2147483658 rows of packed_csr cannot be numbered with int32',
    ],
  ])('refuses codebooks %j with %j nodes', (codebookSizes, nodes, wrong, message) => {
    expect(() => planExport(codebookSizes, nodes, wrong as typeof options)).toThrow(
      expect.objectContaining({ code: 'ESP_EXPORT_UNSUPPORTED', message: expect.stringContaining(message) }),
    );
  });

  it('plans for 20 million SIDs of 8 levels without a table of them', () => {
    const nodes = [2048, 4_000_000, ...new Array<number>(6).fill(20_000_000)];
    const plan = planExport(new Array<number>(8).fill(2048), nodes, {
      vocabSize: 2048,
      denseLookupLayers: 2,
    });
    expect(plan).toEqual({ stateCount: 104_002_049, edgeCount: 124_000_000, denseEntries: 4_194_304 });
  });
});

describe('the import from STATIC', () => {
  it.each(cases)('gives back the trie: %s', async (name) => {
    expect(await importStatic(readStaticFolder(join(fixtures, name)))).toEqual(openCase(name).trie);
  });

  it('takes indptr as int64, as NumPy before version 2 makes it', async () => {
    const { trie, ...options } = openCase('two-layers');
    const csr = exportStatic(trie, options);
    const folder = newFolder();
    writeStaticFolder(folder, csr);
    const write = (values: bigint[]) =>
      writeNpy(join(folder, 'indptr.npy'), 'int64', [values.length], BigInt64Array.from(values));
    const values = Array.from(csr.indptr, BigInt);
    write(values);
    expect(await importStatic(readStaticFolder(folder))).toEqual(trie);
    for (const [value, found] of [
      [2n ** 32n, '4294967296'],
      [2n ** 31n, '2147483648'],
      [-(2n ** 31n) - 1n, '-2147483649'],
    ] as const) {
      write(values.with(3, value));
      const message = `indptr.npy: entry 3: expected a value that fits int32, found ${found}`;
      expect(() => readStaticFolder(folder)).toThrow(
        expect.objectContaining({ code: 'ESP_ARRAY_FILE', message }),
      );
    }
  });

  it('of an export gives back every array of the trie', async () => {
    let tried = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (caseSeed) => {
        const made = randomExport(new Random(caseSeed));
        if (made === undefined) return;
        tried++;
        const { trie, csr } = made;
        expect(await importStatic(csr, { codebookSizes: trie.codebookSizes })).toEqual(trie);
      }),
      seeded('STATIC round trip', 300),
    );
    expect(tried).toBeGreaterThan(150);
  });

  it('of altered arrays is refused, unless they are those of another trie', async () => {
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (caseSeed) => {
        const random = new Random(caseSeed);
        const made = randomExport(random);
        if (made === undefined) return;
        const altered = alter(random, made.csr);
        try {
          const trie = await importStatic(altered);
          // So rare that a run may have none.
          expect(exportStatic(trie, altered)).toEqual(altered);
        } catch (thrown) {
          expect(thrown).toMatchObject({ code: 'ESP_ARRAY_FILE' });
          refused++;
        }
      }),
      seeded('altered STATIC arrays', 600),
    );
    expect(refused).toBeGreaterThan(200);
  });

  // SIDs 0-1-2, 0-1-3 and 2-0-0 of 4 tokens: states 5 (0-1) and 6 (2-0).
  const base = (denseLookupLayers: 1 | 2 = 2) =>
    exportStatic(
      buildStaticTrie({
        codebookSizes: [4, 4, 4],
        rowCount: 3,
        codes: Uint16Array.of(0, 1, 2, 0, 1, 3, 2, 0, 0),
      }).trie,
      { vocabSize: 4, denseLookupLayers },
    );

  it('reads the example as these arrays', () => {
    const { packedCsr, indptr, layerMaxBranches } = base();
    expect([...packedCsr].slice(0, 10)).toEqual([1, 5, 0, 6, 2, 0, 3, 0, 0, 0]);
    expect([...indptr]).toEqual([0, 0, 1, 1, 2, 2, 4, 5, 9]);
    expect(layerMaxBranches).toEqual([2, 1, 2]);
  });

  it.each<[string, (csr: StaticCsr) => Partial<StaticCsr> | undefined, string]>([
    [
      'a state out of range',
      ({ packedCsr }) => void packedCsr.set([99], 1),
      'packed_csr[0, 1]: expected state 5, found 99',
    ],
    ['a cycle', ({ packedCsr }) => void packedCsr.set([5], 5), 'packed_csr[2, 1]: expected state 0, found 5'],
    [
      'a state of another depth',
      ({ packedCsr }) => void packedCsr.set([0], 1),
      'packed_csr[0, 1]: expected state 5, found 0',
    ],
    [
      'a state that two edges lead to',
      ({ packedCsr }) => void packedCsr.set([5], 3),
      'packed_csr[1, 1]: expected state 6, found 5',
    ],
    [
      'codes out of order',
      ({ packedCsr }) => void packedCsr.set([1], 6),
      'packed_csr[3, 0]: expected a code of level 2, from 3 to 3, found 1',
    ],
    [
      'a code twice',
      ({ packedCsr }) => void packedCsr.set([2], 6),
      'packed_csr[3, 0]: expected a code of level 2, from 3 to 3, found 2',
    ],
    [
      'a negative code',
      ({ packedCsr }) => void packedCsr.set([-1], 0),
      'packed_csr[0, 0]: expected a code of level 1, from 0 to 3, found -1',
    ],
    [
      'a code beyond the vocabulary',
      ({ packedCsr }) => void packedCsr.set([4], 8),
      'packed_csr[4, 0]: expected a code of level 2, from 0 to 3, found 4',
    ],
    [
      'other padding',
      ({ packedCsr }) => void packedCsr.set([1], 17),
      'packed_csr[8, 1]: expected 0 as padding, found 1',
    ],
    [
      'less padding',
      ({ packedCsr }) => ({ packedCsr: packedCsr.slice(0, 16) }),
      'indptr[7]: expected 4, found 5',
    ],
    [
      'no edges',
      ({ packedCsr }) => ({ packedCsr: packedCsr.slice(0, 8) }),
      'packed_csr: expected more than 4 rows of 2 entries, found 4',
    ],
    [
      'edges of the absent state',
      ({ indptr }) => void indptr.set([0, 1]),
      'indptr[1]: expected the same as indptr[0] (0), found 1',
    ],
    [
      'indptr that falls',
      ({ indptr }) => void indptr.set([1], 5),
      'indptr[5]: expected the same as indptr[4] (2), found 1',
    ],
    [
      'a state without edges',
      ({ indptr }) => void indptr.set([2], 6),
      'indptr[6]: expected more than indptr[5] (2), found 2',
    ],
    ['indptr beyond the edges', ({ indptr }) => void indptr.set([6], 7), 'indptr[7]: expected 5, found 6'],
    [
      'indptr that is too short',
      ({ indptr }) => ({ indptr: indptr.slice(0, 6) }),
      'indptr: expected at least 7 entries, found 6',
    ],
    [
      'one level more',
      ({ layerMaxBranches }) => ({ layerMaxBranches: [...layerMaxBranches, 1] }),
      'indptr: expected more than 7 states',
    ],
    [
      'one level less',
      (csr) => ({ layerMaxBranches: csr.layerMaxBranches.slice(0, 2), ...oneLayer(csr) }),
      'indptr: expected 5 states',
    ],
    [
      'levels that the tables leave no CSR',
      ({ layerMaxBranches }) => ({ layerMaxBranches: layerMaxBranches.slice(0, 2) }),
      'layer_max_branches: expected more levels than 2',
    ],
    ['other branches', () => ({ layerMaxBranches: [2, 2, 2] }), 'layer_max_branches[1]: expected 1, found 2'],
    [
      'another first mask',
      ({ startMask }) => void startMask.set([1], 1),
      'indptr[3]: expected more than indptr[2] (1), found 1',
    ],
    [
      'a mask that is neither true nor false',
      ({ startMask }) => void startMask.set([2], 1),
      'start_mask[1]: expected 0, found 2',
    ],
    ['a missing prefix', ({ denseMask }) => void denseMask.set([0], 1), 'dense_mask[1]: expected 1, found 0'],
    [
      'a prefix too many',
      ({ denseMask }) => void denseMask.set([1], 15),
      'dense_mask[15]: expected 0, found 1',
    ],
    [
      'another state of a prefix',
      ({ denseStates }) => void denseStates.set([5], 8),
      'dense_states[8]: expected 6, found 5',
    ],
    [
      'a state of an absent prefix',
      ({ denseStates }) => void denseStates.set([5], 2),
      'dense_states[2]: expected 0, found 5',
    ],
    [
      'tables of another size',
      ({ denseMask }) => ({ denseMask: denseMask.slice(1) }),
      'dense_mask: expected 16 entries, found 15',
    ],
  ])('refuses %s', async (_, change, message) => {
    const csr = base();
    const altered = { ...csr, ...change(csr) };
    await expect(importStatic(altered)).rejects.toMatchObject({
      code: 'ESP_ARRAY_FILE',
      message: expect.stringContaining(message),
    });
  });

  const oneLayer = ({ vocabSize }: StaticCsr) => {
    const { denseMask, denseStates, denseLookupLayers } = base(1);
    expect(denseMask.length).toBe(vocabSize);
    return { denseMask, denseStates, denseLookupLayers };
  };

  it('refuses codebooks that do not fit', async () => {
    await expect(importStatic(base(), { codebookSizes: [4, 4] })).rejects.toMatchObject({
      message: 'layer_max_branches: expected 2 levels, one for each codebook, found 3',
    });
    await expect(importStatic(base(), { codebookSizes: [4, 4, 3] })).rejects.toMatchObject({
      message: 'packed_csr[3, 0]: expected a code of level 2, from 3 to 2, found 3',
    });
    await expect(importStatic(base(), { codebookSizes: [2, 4, 4] })).rejects.toMatchObject({
      code: 'ESP_ARRAY_FILE',
      message: 'start_mask[2]: expected 0 beyond the codebook of 2 codes, found 1',
    });
  });

  it.each([
    ['start_mask.npy', 'uint8', [4], new Uint8Array(4), 'start_mask.npy: expected bool, found uint8'],
    [
      'start_mask.npy',
      'bool',
      [2, 2],
      new Uint8Array(4),
      'start_mask.npy: expected shape (any), found (2, 2)',
    ],
    [
      'dense_mask.npy',
      'bool',
      [4, 3],
      new Uint8Array(12),
      'dense_mask.npy: expected shape (4, 4), found (4, 3)',
    ],
    [
      'dense_states.npy',
      'int32',
      [16],
      new Int32Array(16),
      'dense_states.npy: expected shape (4, 4), found (16)',
    ],
    [
      'packed_csr.npy',
      'int32',
      [6, 3],
      new Int32Array(18),
      'packed_csr.npy: expected shape (any, 2), found (6, 3)',
    ],
    ['indptr.npy', 'uint32', [9], new Uint32Array(9), 'indptr.npy: expected int32 or int64, found uint32'],
  ] as const)('refuses a folder with another %s', (file, dtype, shape, data, message) => {
    const folder = newFolder();
    writeStaticFolder(folder, base());
    writeNpy(join(folder, file), dtype, shape, data);
    expect(() => readStaticFolder(folder)).toThrow(
      expect.objectContaining({ code: 'ESP_ARRAY_FILE', message }),
    );
  });

  it('leaves older files alone when a new export cannot be written', () => {
    const folder = newFolder();
    const blocked = join(folder, 'not-a-folder');
    writeFileSync(blocked, 'older');
    expect(() => writeStaticFolder(blocked, base())).toThrow(
      expect.objectContaining({
        code: 'ESP_WRITE_FAILED',
        message: expect.stringMatching(/^not-a-folder cannot be written: E\w+: .*unchanged$/),
      }),
    );
    expect(readFileSync(blocked, 'utf8')).toBe('older');
  });
});

/** One entry, or one length, of one array is another. */
function alter(random: Random, csr: StaticCsr): StaticCsr {
  const name = random.pick(['packedCsr', 'indptr', 'startMask', 'denseMask', 'denseStates'] as const);
  const array = csr[name].slice();
  const index = random.below(array.length);
  const before = array[index];
  while (array[index] === before) {
    array[index] = random.pick([before + 1, before - 1, random.below(array.length), -1, 2 ** 31 - 1, 0, 1]);
  }
  return { ...csr, [name]: array };
}
