import { spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readItems, writeCatalogFile } from '../../src/static-trie/index.js';
import { openTrieFile, writeTrieFile } from '../../src/static-trie/trie-file.js';
import { Random } from '../helpers/random.js';
import { bytesOf, npyBytes, npyHeader } from '../static-trie/exchange/arrays.js';

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
const fixtures = new URL('../fixtures/static-export/', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'espalier-index-'));
const exported = ['packed_csr', 'indptr', 'layer_max_branches', 'start_mask', 'dense_mask', 'dense_states'];

function espalier(args: string[], environment: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'index', ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...environment },
  });
  return { status, stdout, stderr };
}

function json(args: string[]) {
  const { status, stdout, stderr } = espalier([...args, '--json']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(stdout.trim().split('\n')).toHaveLength(1);
  return JSON.parse(stdout);
}

/** Seven rows of four SIDs; 1-1-1 comes three times and 0-2-1 twice. */
const sids = join(folder, 'sids.npy');
const rows = [1, 1, 1, 0, 2, 1, 1, 1, 1, 2, 0, 0, 0, 2, 1, 1, 1, 1, 1, 1, 0];
writeFileSync(sids, npyBytes(npyHeader('<i8', '(7, 3)'), bytesOf(BigInt64Array.from(rows, BigInt))));
const buildArgs = (out: string) => ['build', '--sids', sids, '--codebook-sizes', '3,3,2', '--out', out];

/** Random rows enough for a file of some hundred kilobytes. */
function manySids(): string {
  const path = join(folder, 'many.npy');
  const random = new Random(1);
  const codes = Uint16Array.from({ length: 300_000 }, () => random.below(1024));
  if (!existsSync(path)) writeFileSync(path, npyBytes(npyHeader('<u2', '(100000, 3)'), bytesOf(codes)));
  return path;
}

const catalog = await writeCatalog();
const index = join(folder, 'small.trie');
expectBuilt();

function expectBuilt(): void {
  const { status, stderr } = espalier(buildArgs(index));
  if (status !== 0) throw new Error(stderr);
}

describe('espalier index build', () => {
  it('reports rows, leaves, collisions, nodes and bytes', () => {
    const out = join(folder, 'built.trie');
    const { status, stdout, stderr } = espalier([...buildArgs(out), '--threads', '2']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toContain('rows             7\n');
    expect(stdout).toContain('leaves           4\n');
    expect(stdout).toContain('collisions       5 rows share 2 SIDs, at most 3 one: 1-1-1\n');
    expect(stdout).toContain('nodes per level  3 · 3 · 4\n');
    expect(stdout).toContain(`written          ${out}\n`);
    expect(json(buildArgs(out))).toEqual({
      rows: 7,
      leaves: 4,
      collisions: { leaves: 2, rows: 5, largest: { sid: [1, 1, 1], rows: 3 } },
      nodesPerLevel: [3, 3, 4],
      bytes: statSync(out).size,
      out,
    });
  });

  it('finds no collision where there is none', () => {
    const one = join(fixtures, 'one-row', 'sids.npy');
    const args = ['build', '--sids', one, '--codebook-sizes', '3,3,3', '--out', join(folder, 'one.trie')];
    expect(json(args).collisions).toEqual({ leaves: 0, rows: 0, largest: null });
    expect(espalier(args).stdout).toContain('collisions       none\n');
  });

  it('names the first of the SIDs that most rows share', () => {
    const path = join(folder, 'tie.npy');
    const codes = Uint8Array.of(2, 1, 0, 1, 1, 1, 2, 1, 0, 1, 1, 1);
    writeFileSync(path, npyBytes(npyHeader('|u1', '(4, 3)'), codes));
    const report = json(['build', '--sids', path, '--codebook-sizes', '3,3,2', '--out', `${path}.trie`]);
    expect(report.collisions).toEqual({ leaves: 2, rows: 4, largest: { sid: [1, 1, 1], rows: 2 } });
  });

  it('reads .npz, and its options from the environment', () => {
    const out = join(folder, 'npz.trie');
    const { status, stdout } = espalier(['build', '--codebook-sizes', '6,6,6', '--json'], {
      ESPALIER_SIDS: join(fixtures, 'archives', 'named.npz'),
      ESPALIER_OUT: out,
      ESPALIER_CODEBOOK_SIZES: '1,1,1',
    });
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ rows: 20, leaves: 17, out });
    expect(espalier(['build', '--sids', sids, '--codebook-sizes', '3,3,2', '--out', out]).stdout).toMatch(
      /collisions +5 rows/,
    );
  });

  it.each([
    [['--sids', 'absent.npy'], "ENOENT: no such file or directory, open 'absent.npy'"],
    [
      ['--codebook-sizes', '3,3'],
      'ESP_ARRAY_FILE: sids.npy: expected shape (rows, 2), one column for each codebook, found (7, 3)',
    ],
    [
      ['--codebook-sizes', '3,2,2'],
      'ESP_ARRAY_FILE: sids.npy: row 1, level 1: code 2 must be < codebook size 2',
    ],
    [
      ['--out', join(folder, 'absent', 'a.trie')],
      'ESP_WRITE_FAILED: a.trie cannot be written: ENOENT: no such file or directory;',
    ],
  ])('with %j fails', (more, message) => {
    const { status, stdout, stderr } = espalier([...buildArgs(join(folder, 'no.trie')), ...more]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain(message);
    expect(existsSync(join(folder, 'no.trie'))).toBe(false);
  });
});

describe('espalier index inspect', () => {
  it('shows a static trie', () => {
    const { bytes, bytesPerLeaf, sections, ...report } = json(['inspect', index]);
    expect(report).toEqual({
      kind: 'static-trie',
      formatVersion: 2,
      leaves: 4,
      levels: 3,
      codebookSizes: [3, 3, 2],
      nodesPerLevel: [3, 3, 4],
      fanOutPerLevel: [
        { mean: 3, p99: 3, max: 3 },
        { mean: 1, p99: 1, max: 1 },
        { mean: 4 / 3, p99: 2, max: 2 },
      ],
    });
    expect(bytes).toBe(statSync(index).size);
    expect(bytesPerLeaf).toBe(bytes / 4);
    expect(sections).toContainEqual({ name: 'rows', bytes: 24 });
    expect(sections).toContainEqual({ name: 'newPrefix.2', bytes: 8 });
    const { stdout } = espalier(['inspect', index]);
    expect(stdout).toMatch(/^kind +static-trie$/m);
    expect(stdout).toMatch(/^level +codebook +nodes +mean fan-out +p99 +max$/m);
    expect(stdout).toMatch(/^2 +2 +4 +1\.33 +2 +2$/m);
    expect(stdout).toMatch(/^rows +24 +6\.00$/m);
  });

  it('shows a catalog version, with its items and attributes', () => {
    const report = json(['inspect', catalog]);
    expect(report).toMatchObject({
      kind: 'catalog-version',
      leaves: 2,
      items: 3,
      attributes: { price: { type: 'double' }, title: { type: 'string' } },
      nodesPerLevel: [1, 2],
    });
    const { stdout } = espalier(['inspect', catalog]);
    expect(stdout).toMatch(/^items +3$/m);
    expect(stdout).toMatch(/^attributes +price \(double\), title \(string\)$/m);
  });

  it('says what is not a file of ours', () => {
    expect(espalier(['inspect', sids])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('ESP_ARTIFACT_CORRUPT: sids.npy: expected the magic ESPALIER'),
    });
    expect(espalier(['inspect', 'absent']).stderr).toContain(
      "ENOENT: no such file or directory, open 'absent'",
    );
  });
});

describe('espalier index verify', () => {
  it('reads sound files of both kinds', () => {
    expect(espalier(['verify', index])).toEqual({ status: 0, stdout: `${index} is sound\n`, stderr: '' });
    expect(json(['verify', catalog])).toEqual({ file: catalog, isSound: true });
  });

  it('finds arrays that mean nothing, though their checksums fit', () => {
    const path = join(folder, 'senseless.trie');
    const trie = openTrieFile(index);
    writeTrieFile(path, { ...trie, rows: trie.rows.slice().fill(1) });
    const { status, stderr } = espalier(['verify', path]);
    expect(status).toBe(1);
    expect(stderr).toContain('ESP_ARTIFACT_CORRUPT: ');
    expect(stderr).toContain('newPrefix');
  });

  it.each([
    ['a static trie', index, 'rows'],
    ['a catalog version', catalog, 'rows'],
  ])('finds a damaged byte in %s', (_, path, section) => {
    const damaged = join(folder, 'damaged');
    copyFileSync(path, damaged);
    // The first section, rows, begins at the first multiple of 64 behind the header.
    const headerBytes = readFileSync(path).readUInt32LE(12);
    const file = openSync(damaged, 'r+');
    writeSync(file, Buffer.of(77), 0, 1, Math.ceil((20 + headerBytes) / 64) * 64);
    closeSync(file);
    const { status, stdout, stderr } = espalier(['verify', damaged]);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toContain(
      `ESP_ARTIFACT_CORRUPT: damaged: expected section ${section} to fit its checksum`,
    );
  });
});

describe('espalier index export and import', () => {
  const sizes = { 'two-levels': '5,5', 'eight-levels': '9,9,9,9,9,9,9,9' };

  it.each(Object.entries(sizes))('move %s to the reference and back', (name, codebookSizes) => {
    const { vocabSize, denseLookupLayers } = JSON.parse(
      readFileSync(join(fixtures, name, 'settings.json'), 'utf8'),
    );
    const trie = join(folder, `${name}.trie`);
    const again = join(folder, `${name}-again.trie`);
    const out = join(folder, name, 'deeper');
    json([
      'build',
      '--sids',
      join(fixtures, name, 'sids.npy'),
      '--codebook-sizes',
      codebookSizes,
      '--out',
      trie,
    ]);
    const options = ['--vocab-size', `${vocabSize}`, '--dense-lookup-layers', `${denseLookupLayers}`];
    // The second export replaces the first.
    for (let time = 0; time < 2; time++) {
      const report = json(['export', trie, '--format', 'static', ...options, '--out', out]);
      expect(Object.keys(report)).toEqual(['leaves', 'states', 'edges', 'layerMaxBranches', 'out']);
    }
    expect(readdirSync(out).sort()).toEqual(exported.map((array) => `${array}.npy`).sort());
    for (const array of exported) {
      const expected = readFileSync(join(fixtures, name, `${array}.npy`));
      expect(readFileSync(join(out, `${array}.npy`)).equals(expected), array).toBe(true);
    }
    const report = json(['import', out, '--format', 'static', '--out', again]);
    expect(report.codebookSizes).toEqual(codebookSizes.split(',').map(Number));
    expect(readFileSync(again).equals(readFileSync(trie))).toBe(true);
  });

  it('import with codebook sizes gives back an unequal trie', () => {
    const out = join(folder, 'unequal');
    const again = join(folder, 'unequal.trie');
    json([
      'export',
      index,
      '--format',
      'static',
      '--vocab-size',
      '9',
      '--dense-lookup-layers',
      '1',
      '--out',
      out,
    ]);
    json(['import', out, '--format', 'static', '--codebook-sizes', '3,3,2', '--out', again]);
    expect(readFileSync(again).equals(readFileSync(index))).toBe(true);
    expect(json(['export', catalog, ...staticOptions(9, 1), '--out', out])).toMatchObject({
      leaves: 2,
    });
  });

  it('fail with the reason', () => {
    const out = join(folder, 'refused');
    const narrow = espalier(['export', index, ...staticOptions(2, 1), '--out', out]);
    expect(narrow.status).toBe(1);
    expect(narrow.stderr).toContain(
      'ESP_EXPORT_UNSUPPORTED: level 0: codebook size 3 must be <= vocabulary size 2',
    );
    expect(existsSync(out)).toBe(false);
    mkdirSync(out);
    const empty = espalier(['import', out, '--format', 'static', '--out', join(folder, 'refused.trie')]);
    expect(empty.status).toBe(1);
    expect(empty.stderr).toContain('ENOENT: no such file or directory, open');
    expect(empty.stderr).toContain('start_mask.npy');
  });
});

function staticOptions(vocabSize: number, layers: number): string[] {
  return ['--format', 'static', '--vocab-size', `${vocabSize}`, '--dense-lookup-layers', `${layers}`];
}

describe('the command line of espalier index', () => {
  it.each([['build'], ['inspect'], ['verify'], ['export'], ['import']])('explains %s', (name) => {
    const { status, stdout } = espalier([name, '--help']);
    expect(status).toBe(0);
    expect(stdout).toMatch(new RegExp(`^Usage: espalier index ${name} `));
    expect(stdout).toContain('--json');
    expect(espalier(['--help']).stdout).toContain(`espalier index ${name}`);
  });

  it.each([
    [[], 'index: expected a subcommand, found none'],
    [['biuld'], 'index: unknown subcommand biuld'],
    [['toString'], 'index: unknown subcommand toString'],
    [['--help', 'extra'], 'unexpected extra'],
    [['build'], '--sids: expected a value, found nothing'],
    [['build', '--sids', 'a'], '--codebook-sizes: expected a value, found nothing'],
    [['build', '--sids', 'a', '--codebook-sizes', '3'], '--out: expected a value, found nothing'],
    [
      ['build', '--sids', 'a', '--codebook-sizes', '3,,3'],
      '--codebook-sizes: expected an integer from 1 to 262144, found ""',
    ],
    [
      ['build', '--sids', 'a', '--codebook-sizes', '262145'],
      'expected an integer from 1 to 262144, found "262145"',
    ],
    [[...buildArgs('b'), '--threads', '0'], '--threads: expected an integer from 1 to 1024, found "0"'],
    [[...buildArgs('b'), '--threads', '1e1'], '--threads: expected an integer from 1 to 1024, found "1e1"'],
    [[...buildArgs('b'), 'extra'], 'unexpected extra'],
    [[...buildArgs('b'), '--thread', '1'], "Unknown option '--thread'"],
    [['inspect'], 'expected FILE, found nothing'],
    [['verify', 'a', 'b'], 'unexpected b'],
    [['export', 'a', '--format', 'csv'], '--format: expected static, found "csv"'],
    [['export', 'a', '--format', 'static', '--vocab-size', '-1'], '--vocab-size'],
    [
      ['export', 'a', ...staticOptions(9, 3), '--out', 'b'],
      '--dense-lookup-layers: expected 1 or 2, found "3"',
    ],
    [['import', '--format', 'static', '--out', 'b'], 'expected DIR, found nothing'],
  ])('answers %j with usage and exit code 2', (args, message) => {
    const { status, stdout, stderr } = espalier(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain(message);
    expect(stderr).toContain('Usage:');
    expect(stderr).toContain('espalier index');
  });
});

describe('a disk that refuses', () => {
  it('being full, leaves the old files as they are', ({ skip }) => {
    const small = join(folder, 'small-disk');
    mkdirSync(small);
    const mount = ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small];
    const { status, stderr, error } = spawnSync('mount', mount, { encoding: 'utf8' });
    if (status !== 0) skip(`cannot mount a small disk: ${error?.message ?? stderr.trim()}`);
    try {
      fillDisk(small);
    } finally {
      spawnSync('umount', [small]);
    }
  });

  function fillDisk(small: string): void {
    const out = join(small, 'a.trie');
    const arrays = join(small, 'arrays');
    json(buildArgs(out));
    json(['export', out, ...staticOptions(3, 1), '--out', arrays]);
    const before = contentsOf(small);
    const large = join(folder, 'large.trie');
    json(['build', '--sids', manySids(), '--codebook-sizes', '1024,1024,1024', '--out', large]);
    const attempts = [
      ['build', '--sids', manySids(), '--codebook-sizes', '1024,1024,1024', '--out', out],
      ['export', large, ...staticOptions(1024, 1), '--out', arrays],
      ['export', large, ...staticOptions(1024, 1), '--out', join(small, 'new')],
    ];
    for (const args of attempts) {
      const { status, stdout, stderr } = espalier(args);
      expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
      expect(stderr).toMatch(
        /ESP_WRITE_FAILED: (a\.trie|packed_csr\.npy) cannot be written: ENOSPC: no space left on device; what had that name before is unchanged/,
      );
      expect(contentsOf(small)).toEqual(before);
    }
  }

  it.skipIf(process.platform === 'win32')('to hold larger files leaves the old file as it is', () => {
    const out = join(folder, 'limited', 'a.trie');
    mkdirSync(join(folder, 'limited'));
    json(buildArgs(out));
    const before = contentsOf(join(folder, 'limited'));
    const args = ['build', '--sids', manySids(), '--codebook-sizes', '1024,1024,1024', '--out', out];
    const script = 'ulimit -f 64 && exec "$@"';
    const { status, stderr } = spawnSync(
      'bash',
      ['-c', script, 'bash', process.execPath, main, 'index', ...args],
      {
        encoding: 'utf8',
      },
    );
    expect(stderr).toContain('ESP_WRITE_FAILED: a.trie cannot be written: EFBIG: file too large;');
    expect(status).toBe(1);
    expect(contentsOf(join(folder, 'limited'))).toEqual(before);
  });
});

/** Everything below a folder, by its name. */
function contentsOf(path: string): Record<string, string> {
  const entries = readdirSync(path, { recursive: true, withFileTypes: true });
  return Object.fromEntries(
    entries.map((entry) => {
      const name = join(entry.parentPath, entry.name);
      return [name, entry.isFile() ? readFileSync(name, 'base64') : 'a folder'];
    }),
  );
}

/** Three items on two leaves. */
async function writeCatalog(): Promise<string> {
  const items = [
    { id: 'a', sid: [1, 2], price: 1.5 },
    { id: 'b', sid: [1, 2], title: 'second' },
    { id: 'c', sid: [1, 3] },
  ];
  const path = join(folder, 'items.ndjson');
  writeFileSync(path, items.map((item) => `${JSON.stringify(item)}\n`).join(''));
  const schema = { price: { type: 'double' }, title: { type: 'string' } } as const;
  writeCatalogFile(join(folder, 'catalog.bin'), await readItems(path, schema, [3, 4]));
  return join(folder, 'catalog.bin');
}
