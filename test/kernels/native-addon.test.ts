import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { type Addon, callNative, loadAddon } from '../../src/kernels/native/addon.js';
import { buildStaticTrie } from '../../src/static-trie/index.js';
import { noNative } from '../helpers/native.js';
import { Random } from '../helpers/random.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-addon-'));
const codebookSizes = [40, 300];

function smallTrie() {
  return buildStaticTrie({ codebookSizes, rowCount: 3, codes: Uint16Array.of(1, 2, 0, 299, 1, 2) }).trie;
}

function refused(call: () => unknown, message: string | RegExp, code = 'ESP_SHAPE'): void {
  expect(() => callNative(call)).toThrow(
    expect.objectContaining({ code, message: expect.stringMatching(message) }),
  );
}

function largeRows(rowCount: number): Uint16Array<ArrayBuffer> {
  const random = new Random(3);
  return new Uint16Array(rowCount * 2).map((_, index) => random.below(codebookSizes[index % 2]));
}

describe.skipIf(noNative)('the native addon', () => {
  const addon = loadAddon().addon as Addon;
  const bits = (words: number) => new Uint32Array(words);

  it('knows its handles by their kind', async () => {
    const { job, trie } = addon.startBuild(Uint16Array.of(1, 2), Uint32Array.from(codebookSizes), 1, 1, 0, 0);
    const handle = await trie;
    const asTrie = (value: unknown) => value as typeof handle;
    const asJob = (value: unknown) => value as typeof job;
    for (const other of [job, {}, null, undefined, 5, [], Object.create(handle)]) {
      refused(() => addon.trieByteSize(asTrie(other)), 'expected the handle of a static trie');
    }
    for (const other of [handle, {}, null, 'job']) {
      refused(() => addon.buildProgress(asJob(other)), 'expected the handle of a build');
    }
    expect(addon.trieByteSize(handle)).toBeGreaterThan(0);
  });

  it('refuses a trie that was disposed, as often as it is asked', () => {
    const handle = addon.attachTrie(smallTrie());
    addon.disposeTrie(handle);
    addon.disposeTrie(handle);
    for (let time = 0; time < 2; time++) {
      refused(() => addon.deriveSet(0, handle, bits(2), bits(2), bits(2)), 'has been disposed');
    }
  });

  it('keeps the arrays of a build after its trie was disposed', async () => {
    const codes = largeRows(200_000);
    const { trie } = addon.startBuild(codes, Uint32Array.from(codebookSizes), 200_000, 2, 0, 1 << 20);
    const handle = await trie;
    const rows = new Uint16Array(addon.builtArrays(handle).rows);
    const before = rows.slice(0, 100);
    addon.disposeTrie(handle);
    expect(rows.slice(0, 100)).toEqual(before);
    refused(() => addon.builtArrays(handle), 'has been disposed');
  });

  it('can be told to cancel a build that has ended', async () => {
    const { job, trie } = addon.startBuild(Uint16Array.of(1, 2), Uint32Array.from(codebookSizes), 1, 1, 0, 0);
    await trie;
    addon.cancelBuild(job);
    expect(addon.buildProgress(job).fraction).toBeGreaterThanOrEqual(0);
  });

  it('checks type, length, alignment and kind of memory of every array', () => {
    const handle = addon.attachTrie(smallTrie());
    const derive = (leafBits: unknown) => () =>
      addon.deriveSet(0, handle, leafBits as Uint32Array, bits(2), bits(2));
    const detached = bits(2);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    refused(derive(bits(4)), 'leafBits must have 2 words for 2 bits, found 4');
    refused(derive(new Uint8Array(8)), 'leafBits must be a Uint32Array');
    refused(derive([0, 0]), 'leafBits must be a typed array');
    refused(derive(new DataView(new ArrayBuffer(8))), 'leafBits must be a typed array');
    refused(
      derive(new Uint32Array(new ArrayBuffer(12), 4, 2)),
      'leafBits must start at a multiple of 8 bytes',
    );
    refused(derive(new Uint32Array(new SharedArrayBuffer(8))), 'leafBits must not lie in shared memory');
    refused(derive(detached), 'leafBits has been detached');
    derive(bits(2))();
  });

  it('refuses instruction sets that do not exist', () => {
    const handle = addon.attachTrie(smallTrie());
    for (const level of [-1, 4, 0.5, Number.NaN]) {
      refused(() => addon.deriveSet(level, handle, bits(2), bits(2), bits(2)), 'level must be an integer');
    }
    const usable = addon.levels().map(({ level }) => level);
    const other = [0, 1, 2, 3].find((level) => !usable.includes(level))!;
    refused(() => addon.countBits(other, bits(2), 1), /has no \w+ kernels/, 'ESP_KERNEL_UNKNOWN');
  });

  it('refuses tries whose arrays do not fit each other', () => {
    const trie = smallTrie();
    const [roots, nodes] = trie.topLevels;
    const broken = [
      { rows: trie.rows.slice(1) },
      { rows: new Uint32Array(trie.rows) },
      { leafCount: 3 },
      { leafCount: 0 },
      { levelCount: 33 },
      { codebookSizes: [40, 0] },
      { newPrefix: [trie.newPrefix[0]] },
      { topLevels: [roots] },
      { topLevels: [{ ...roots, firstChild: Uint32Array.of(0, 1, 7) }, nodes] },
      { topLevels: [{ ...roots, firstChild: null }, nodes] },
      { topLevels: [roots, { ...nodes, leafStart: Uint32Array.of(0, 2, 2) }] },
      { topLevels: [roots, { ...nodes, codes: Uint16Array.of(299, 300) }] },
    ];
    for (const change of broken) refused(() => addon.attachTrie({ ...trie, ...change } as typeof trie), /./);
    addon.disposeTrie(addon.attachTrie(trie));
  });

  it('maps files, and nothing beyond their end', () => {
    const path = join(folder, 'mapped');
    writeFileSync(
      path,
      Uint8Array.from({ length: 10_000 }, (_, index) => index & 255),
    );
    const file = openSync(path, 'r');
    const piece = new Uint8Array(addon.mapFile(file, 4_099, 1_000));
    refused(() => addon.mapFile(file, 9_000, 1_001), 'bytes 9000 to 10001 of a file of 10000');
    refused(() => addon.mapFile(file, 10_001, 0), 'of a file of 10000');
    expect(addon.mapFile(file, 10_000, 0).byteLength).toBe(0);
    closeSync(file);
    // The mapping does not need the file to stay open.
    expect([piece.length, piece[0], piece[999]]).toEqual([1_000, 4_099 & 255, 5_098 & 255]);
    refused(() => addon.mapFile(file, 0, 1), /looking at a file/, 'ESP_SYSTEM');
    refused(() => addon.mapFile(-1, 0, 1), 'file must be an integer');
  });

  it('serves many threads over one file, and threads that end in the middle of a build', {
    timeout: 60_000,
  }, async () => {
    const rowCount = 400_000;
    const codes = largeRows(rowCount);
    const path = join(folder, 'rows');
    writeFileSync(path, codes);
    const workerData = { path, byteLength: codes.byteLength, codebookSizes, rowCount };
    const start = (dieWhileBuilding: boolean) =>
      new Worker(new URL('./native-worker.mjs', import.meta.url), {
        workerData: { ...workerData, dieWhileBuilding },
      });
    const answers = Array.from({ length: 4 }, () => {
      const worker = start(false);
      return new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    });
    const ends = Array.from({ length: 4 }, () => {
      const worker = start(true);
      return new Promise((resolve, reject) => {
        worker.once('error', reject).once('message', () => resolve(worker.terminate()));
      });
    });
    const { trie } = buildStaticTrie({ codebookSizes, rowCount, codes });
    for (const answer of await Promise.all(answers)) {
      expect(answer).toMatchObject({ leafCount: trie.leafCount, first: codes[0] });
    }
    await Promise.all(ends);
  });

  it('lets a process end in the middle of a build', () => {
    const script = `
      const addon = require('./build/Release/espalier.node');
      const codes = new Uint16Array(2 * 2_000_000).map((_, index) => (index * 7919) % 40);
      addon.startBuild(codes, Uint32Array.of(40, 300), 2_000_000, 2, addon.levels().at(-1).level, 0);
      process.exit(0);`;
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    const { status, signal } = spawnSync(process.execPath, ['-e', script], { cwd });
    expect([status, signal]).toEqual([0, null]);
  });

  it.skipIf(process.platform !== 'linux')('builds as nicely as the thread that asks it to', () => {
    const script = fileURLToPath(new URL('nice-build.mjs', import.meta.url));
    const { stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8' });
    expect(stderr).toBe('');
    // The thread itself, and the two that build.
    expect(JSON.parse(stdout)).toEqual({ most: 3, after: 1 });
  });

  it('gives its memory back', () => {
    const script = `
      const addon = require('./build/Release/espalier.node');
      const codes = new Uint16Array(2 * 500_000).map((_, index) => (index * 7919) % 300 % 40);
      const level = addon.levels().at(-1).level;
      const rss = [];
      (async () => {
        for (let round = 0; round < 40; round++) {
          const handle = await addon.startBuild(codes, Uint32Array.of(40, 300), 500_000, 1, level, 0).trie;
          addon.builtArrays(handle);
          addon.disposeTrie(handle);
          gc();
          await new Promise((resolve) => setImmediate(resolve));
          rss.push(process.memoryUsage.rss());
        }
        console.log(JSON.stringify({ early: Math.max(...rss.slice(5, 15)), late: Math.max(...rss.slice(-10)) }));
      })();`;
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    const { stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', '-e', script], {
      cwd,
      encoding: 'utf8',
    });
    expect(stderr).toBe('');
    const { early, late } = JSON.parse(stdout) as { early: number; late: number };
    // A build holds about 13 MB; ten that leak would show.
    expect(late).toBeLessThan(early + 40e6);
  });
});
