import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import {
  type CatalogVersion,
  CatalogVersionBuilder,
  type Column,
  jsonValueAt,
  openCatalogFile,
  openCatalogFileInTurns,
  sidOf,
  valueAt,
  verifyCatalogFile,
  writeCatalogFile,
} from '../../src/static-trie/index.js';
import { buildItemIds, ItemIds } from '../../src/static-trie/item-ids.js';
import { StringTable } from '../../src/static-trie/string-table.js';
import { contentOf, idsOf } from '../helpers/catalog-content.js';
import { everyType } from '../helpers/every-type.js';
import { Random } from '../helpers/random.js';
import { dataOf, readParts, type Section, writeParts } from '../helpers/section-parts.js';
import { seeded } from '../helpers/seed.js';

/** Of places that are damaged one by one; odd, so that every place in a word has its turn. */
const STEP = process.env.LONG_TESTS ? 1 : 7;

const folder = mkdtempSync(join(tmpdir(), 'espalier-catalog-file-'));
const corrupt = expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT' });

async function smallVersion(codebookSizes = [4, 300]): Promise<CatalogVersion> {
  const builder = new CatalogVersionBuilder(everyType, codebookSizes);
  const last = codebookSizes[1] - 1;
  builder.add({ id: 'b', sid: [1, last], attributes: [true, -3, 1.5, 'Ünï 🎁', 0, ['x', 'y']] }, 1);
  builder.add(
    { id: 'a', sid: [1, last], attributes: [undefined, undefined, undefined, '', undefined, []] },
    2,
  );
  builder.add({ id: 'c', sid: [0, 7], attributes: [false, 2 ** 53 - 1, -0.1, 'x', 1e12, ['y']] }, 3);
  builder.add({ id: 'é', sid: [3, 7], attributes: [true, 7, 1e300, 'x', -5, ['z']] }, 4);
  return builder.build();
}

/** A file of `smallVersion`, and its bytes. */
async function smallFile(name: string): Promise<{ path: string; bytes: Buffer }> {
  const path = join(folder, name);
  writeCatalogFile(path, await smallVersion());
  return { path, bytes: readFileSync(path) };
}

async function withLeaves(sharedLeaves: number[], sharedStart: number[]): Promise<string> {
  const path = join(folder, 'leaves');
  const version = await smallVersion();
  const leafItems = {
    ...version.leafItems,
    sharedLeaves: Uint32Array.from(sharedLeaves),
    sharedStart: Uint32Array.from(sharedStart),
  };
  writeCatalogFile(path, { ...version, leafItems });
  return path;
}

describe('a catalog file', () => {
  it.each([[[4, 300]], [[4, 100_000]], [[4, 262_144]]])(
    'gives back what was written, codebooks %j',
    async (sizes) => {
      const path = join(folder, `round-trip-${sizes[1]}`);
      const version = await smallVersion(sizes);
      expect(idsOf(version)).toEqual(['c', 'a', 'b', 'é']);
      writeCatalogFile(path, version);
      verifyCatalogFile(path);
      const opened = openCatalogFile(path);
      expect(contentOf(opened)).toEqual(contentOf(version));
      expect(opened.trie).toEqual(version.trie);
      expect(opened.leafItems).toEqual(version.leafItems);
      expect(readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    },
  );

  it('is opened in turns, between which others run', async () => {
    const path = join(folder, 'in-turns');
    const version = await smallVersion();
    writeCatalogFile(path, version);
    let turns = 0;
    let isOpen = false;
    const others = (async () => {
      while (!isOpen) {
        await setImmediate();
        turns++;
      }
    })();
    const opened = await openCatalogFileInTurns(path);
    isOpen = true;
    await others;
    expect(contentOf(opened)).toEqual(contentOf(version));
    expect(turns).toBeGreaterThan(10);
    writeFileSync(path, readFileSync(path).subarray(0, -1));
    await expect(openCatalogFileInTurns(path)).rejects.toThrow(corrupt);
  });

  it('gives back random catalogs', async () => {
    const path = join(folder, 'random');
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const version = await randomVersion(new Random(seed));
        writeCatalogFile(path, version);
        const fractions: number[] = [];
        verifyCatalogFile(path, (fraction) => fractions.push(fraction));
        expect(fractions.at(-1)).toBe(1);
        expect(fractions).toEqual(fractions.toSorted((a, b) => a - b));
        expect(contentOf(openCatalogFile(path))).toEqual(contentOf(version));
      }),
      seeded('catalog files', 100),
    );
  });
});

describe('a catalog version', () => {
  it.each([[[1]], [[1, 300]], [[-1, 2]], [[1, Number.NaN]]])('refuses SID %j', (sid) => {
    const builder = new CatalogVersionBuilder({}, [4, 300]);
    expect(() => builder.add({ id: 'a', sid, attributes: [] }, 1)).toThrow(
      expect.objectContaining({ code: 'ESP_SHAPE' }),
    );
  });
});

describe('a damaged catalog file', () => {
  it('is refused wherever a section is truncated, of another type or length, or absent', async () => {
    const { path, bytes } = await smallFile('sections');
    const { meta, sections } = readParts(bytes);
    const refuse = async (change: string, changed: Section[]) => {
      await mappingsEnded();
      writeFileSync(path, writeParts({ kind: 'catalog-version', meta, sections: changed }));
      // Whether a code has a number in a dictionary takes reading the codes.
      if (!/^shorter .*\.values$/.test(change)) expect(() => openCatalogFile(path), change).toThrow(corrupt);
      expect(() => verifyCatalogFile(path), change).toThrow(corrupt);
    };
    for (const [index, { name, dtype, data }] of sections.entries()) {
      const others = [
        { u8: 'u16', u16: 'u8', u32: 'u8', f64: 'u8' }[dtype]!,
        dtype === 'u32' ? 'u16' : 'u32',
      ];
      const isOpen = name.endsWith('.bytes') || name === 'sharedLeaves';
      // A trie may have no masks.
      if (name !== 'mask.nodes') await refuse(`without ${name}`, sections.toSpliced(index, 1));
      await refuse(
        `longer ${name}`,
        sections.with(index, { name, dtype, data: Buffer.concat([data, Buffer.alloc(8)]) }),
      );
      if (data.length > 0)
        await refuse(`shorter ${name}`, sections.with(index, { name, dtype, data: data.subarray(8) }));
      for (const other of others) {
        if (!isOpen || data.length > 0)
          await refuse(`${name} as ${other}`, sections.with(index, { name, dtype: other, data }));
      }
    }
  });

  it('is refused wherever it is cut off', async () => {
    const { path, bytes } = await smallFile('cut');
    for (let length = 0; length < bytes.length; length += STEP) {
      await mappingsEnded();
      writeFileSync(path, bytes.subarray(0, length));
      expect(() => openCatalogFile(path)).toThrow(corrupt);
      expect(() => verifyCatalogFile(path)).toThrow(corrupt);
    }
  });

  it('is refused by verifying wherever a bit of it flips', async () => {
    const { path, bytes } = await smallFile('flipped');
    for (let place = 0; place < bytes.length; place += STEP) {
      await mappingsEnded();
      const damaged = Buffer.from(bytes);
      damaged[place] ^= 1 << (place % 8);
      writeFileSync(path, damaged);
      expect(() => verifyCatalogFile(path)).toThrow(corrupt);
    }
  });

  it('is refused by verifying where an entry does not fit the others, though its checksum does', async () => {
    const { path, bytes } = await smallFile('entries');
    const { meta, sections } = readParts(bytes);
    const refuse = async (name: string, change: (array: Uint32Array) => void) => {
      await mappingsEnded();
      const changed = sections.map((section) => {
        if (section.name !== name) return section;
        const data = dataOf(section);
        change(data as Uint32Array);
        return { ...section, data: Buffer.from(data.buffer) };
      });
      writeFileSync(path, writeParts({ kind: 'catalog-version', meta, sections: changed }));
      expect(() => verifyCatalogFile(path), name).toThrow(corrupt);
    };
    for (const { name, dtype, data } of sections.filter(({ name }) => REFERENCES.test(name))) {
      const length = data.length / { u8: 1, u16: 2, u32: 4, f64: 8 }[dtype]!;
      for (let index = 0; index < length; index++) {
        await refuse(name, (array) => array.fill(-1, index, index + 1));
      }
    }
    await refuse('ids.items', (items) => items.reverse());
    await refuse('ids.hashes', (hashes) => hashes.reverse());
    await refuse('ids.bytes', (text) => text.fill(0x61));
    await refuse('ids.bytes', (text) => text.fill(0x80, 0, 1));
    // Ids of a leaf in another order, each still with a hash of its own.
    await refuse('ids.bytes', (text) => text.set([0x62, 0x61], 1));
  });

  it.each<[string, (version: CatalogVersion) => CatalogVersion, RegExp]>([
    [
      'an id twice',
      (version) => withIds(version, ['c', 'a', 'b', 'c']),
      /items 0 and 3 must not have the same id/,
    ],
    [
      'a leaf in another order',
      (version) => withIds(version, ['c', 'b', 'a', 'é']),
      /leaf 1: item 2 must come after/,
    ],
    [
      'an id that is not UTF-8',
      (version) => withIds(version, ['c', 'a', 'b', [0xff]]),
      /ids: expected UTF-8/,
    ],
    [
      'an id inside another',
      (version) => withIds(version, ['c', 'a', [0xc3], [0xa9]]),
      /string 3 must not begin inside/,
    ],
    [
      'another seed',
      (version) => ({ ...version, ids: ofSeed(version.ids, 1) }),
      /hash column, entry 0: expected hash/,
    ],
    [
      'a time beyond all years',
      (version) => withColumn(version, 'since', { encoding: farAway }),
      /stands for no value/,
    ],
    [
      'a fraction for an integer',
      (version) => withColumn(version, 'stock', fractions),
      /0.5, stands for no value/,
    ],
    ['infinity', (version) => withColumn(version, 'price', infinities), /Infinity, stands for no value/],
    [
      'a dictionary that descends',
      (version) => withColumn(version, 'tags', { dictionary: zyx }),
      /string 1 must come after/,
    ],
    [
      'a list that ends before it begins',
      (version) => withColumn(version, 'tags', { offsets: Uint32Array.of(0, 3, 1, 3, 4) }),
      /tags.offsets: entry 2 must not descend/,
    ],
    [
      'a string that ends before it begins',
      (version) => withColumn(version, 'tags', { dictionary: backAndForth }),
      /offsets: entry 2 must not descend/,
    ],
    [
      'a value of no item',
      (version) => withColumn(version, 'title', { present: bit40 }),
      /present: bit 40 must be clear/,
    ],
    [
      'a bit of no item',
      (version) => withColumn(version, 'gift', { bits: bit40 }),
      /bits: bit 40 must be clear/,
    ],
  ])('is refused by verifying where it has %s', async (name, change, message) => {
    const path = join(folder, name);
    writeCatalogFile(path, change(await smallVersion()));
    expect(() => verifyCatalogFile(path)).toThrow(message);
    expect(() => verifyCatalogFile(path)).toThrow(corrupt);
  });

  it('is refused by opening where its leaves do not come to its items', async () => {
    for (const [sharedLeaves, sharedStart] of [
      [[1], [0, 3]],
      [[1], [0, 1]],
      [[], [0]],
    ]) {
      const path = await withLeaves(sharedLeaves, sharedStart);
      expect(() => openCatalogFile(path)).toThrow(corrupt);
    }
  });

  it.each([
    [[1], [1, 2], /sharedStart must begin with 0/],
    [[9], [0, 2], /shared leaf 9: must come after/],
    [[1, 1], [0, 2, 3], /shared leaf 1: must come after/],
    [[0, 1], [0, 1, 3], /shared leaf 0: must have two items/],
  ])('is refused by verifying where its shared leaves are %j from %j', async (leaves, start, message) => {
    const path = await withLeaves(leaves, start);
    expect(() => verifyCatalogFile(path)).toThrow(message);
  });

  it('gives typed errors and no others, whatever its bytes', async () => {
    const { path, bytes } = await smallFile('fuzzed');
    const expected = contentOf(openCatalogFile(path));
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        await mappingsEnded();
        const random = new Random(seed);
        const damage = random.pick([damageBytes, damageSections, damageHeader]);
        const damaged = damage(Buffer.from(bytes), random);
        writeFileSync(path, damaged);
        // What merely opens may say anything, but only in an orderly way.
        if (!isRefused(() => readAnything(openCatalogFile(path)))) {
          const isSound = !isRefused(() => verifyCatalogFile(path));
          if (!isSound) refused++;
          // What passes is read without any error; and damage that checksums cover does not pass.
          else if (damage === damageBytes) expect(contentOf(openCatalogFile(path))).toEqual(expected);
          else readEverything(openCatalogFile(path));
        } else refused++;
      }),
      seeded('damaged catalog files', 4_000),
    );
    expect(refused).toBeGreaterThan(1_000);
  });
});

/** Sections whose entries number other entries: all ones are never right in any of them. */
const REFERENCES =
  /^(rows|newPrefix|top|shared|ids\.(items|offsets)|column\.(title|tags)\..*(offsets|codes))/;

function withIds(version: CatalogVersion, texts: (string | number[])[]): CatalogVersion {
  const parts = texts.map((text) => Buffer.from(text as string));
  const offsets = Uint32Array.from([0, ...parts], (_, index) => Buffer.concat(parts.slice(0, index)).length);
  const strings = new StringTable(Uint8Array.from(Buffer.concat(parts)), offsets);
  return { ...version, ids: buildItemIds(strings) };
}

function ofSeed({ strings, hashes, items }: ItemIds, seed: number): ItemIds {
  return new ItemIds(strings, hashes, items, seed);
}

function withColumn(version: CatalogVersion, name: string, change: object): CatalogVersion {
  const columns = new Map(version.table.columns);
  columns.set(name, { ...columns.get(name)!, ...change } as Column);
  return { ...version, table: { ...version.table, columns } };
}

const farAway = { kind: 'affine', base: 9e15, step: 1 };
const fractions = { encoding: { kind: 'plain' }, codes: new Float64Array(4).fill(0.5) };
const infinities = { encoding: { kind: 'plain' }, codes: new Float64Array(4).fill(Number.POSITIVE_INFINITY) };
const backAndForth = new StringTable(Buffer.from('xyz'), Uint32Array.of(0, 2, 1, 3));
const zyx = StringTable.of(['z', 'y', 'x']);
const bit40 = Uint32Array.of(15, 1 << 8);

/** Mappings of collected arrays end between two turns of the event loop; a process may have 65,530 of them. */
const mappingsEnded = setImmediate;

function damageBytes(bytes: Buffer, random: Random): Buffer {
  const changes = 1 + random.below(3);
  for (let change = 0; change < changes; change++) bytes[random.below(bytes.length)] ^= 1 + random.below(255);
  return random.chance(0.2) ? bytes.subarray(0, random.below(bytes.length)) : bytes;
}

/** Changes entries of sections, and gives them the checksums that go with that. */
function damageSections(bytes: Buffer, random: Random): Buffer {
  const parts = readParts(bytes);
  const changes = 1 + random.below(3);
  for (let change = 0; change < changes; change++) {
    const index = random.below(parts.sections.length);
    const section = parts.sections[index];
    const data = Buffer.from(section.data);
    if (data.length > 0)
      data[random.below(data.length)] = random.pick([0, 1, 127, 128, 255, random.below(256)]);
    const cut = random.chance(0.1) ? data.subarray(0, Math.floor(random.uniform() * data.length)) : data;
    parts.sections[index] = { ...section, data: cut };
  }
  return writeParts(parts);
}

/** Replaces values anywhere in the header by others. */
function damageHeader(bytes: Buffer, random: Random): Buffer {
  const headerLength = bytes.readUInt32LE(12);
  const header = JSON.parse(bytes.toString('utf8', 20, 20 + headerLength));
  const changes = 1 + random.below(2);
  for (let change = 0; change < changes; change++) {
    let parent: Record<string, unknown> = random.chance(0.7) ? header.meta : header;
    for (;;) {
      const key = random.pick(Object.keys(parent));
      const value = parent[key];
      const isInner = typeof value === 'object' && value !== null && Object.keys(value).length > 0;
      if (isInner && random.chance(0.8)) {
        parent = value as Record<string, unknown>;
        continue;
      }
      if (random.chance(0.2)) delete parent[key];
      else parent[key] = random.pick(JUNK)(value);
      break;
    }
    if (typeof header.meta !== 'object' || header.meta === null || Object.keys(header.meta).length === 0)
      break;
  }
  return writeParts({ ...readParts(bytes), header: JSON.stringify(header) });
}

const JUNK: ((value: unknown) => unknown)[] = [
  () => null,
  () => -1,
  () => 0.5,
  () => 1e308,
  () => 2 ** 32,
  () => '',
  () => 'constructor',
  () => [],
  () => ({}),
  () => true,
  (value) => (typeof value === 'number' ? value + 1 : value),
  (value) => (typeof value === 'number' ? value - 1 : value),
  (value) => [value],
  (value) => (Array.isArray(value) ? value.toReversed() : String(value)),
];

function isRefused(action: () => void): boolean {
  try {
    action();
    return false;
  } catch (thrown) {
    if (!(thrown instanceof EspalierError)) throw thrown;
    expect(thrown.code).toBe('ESP_ARTIFACT_CORRUPT');
    return true;
  }
}

/** Reads all items of a file that nobody has verified. */
function readAnything(version: CatalogVersion): void {
  for (const id of [...idsOf(version), 'a', 'nowhere']) version.ids.find(id);
  for (let item = 0; item < version.leafItems.itemCount; item++) {
    sidOf(version, item);
    for (const column of version.table.columns.values()) valueAt(column, item);
  }
}

function readEverything(version: CatalogVersion): void {
  contentOf(version);
  for (const column of version.table.columns.values()) {
    for (let item = 0; item < version.leafItems.itemCount; item++) jsonValueAt(column, item);
  }
}

async function randomVersion(random: Random): Promise<CatalogVersion> {
  const codebookSizes = Array.from({ length: 1 + random.below(4) }, () =>
    random.pick([1, 2, 5, 300, 70_000]),
  );
  const builder = new CatalogVersionBuilder(everyType, codebookSizes);
  const itemCount = 1 + random.below(random.pick([3, 100]));
  for (let item = 0; item < itemCount; item++) {
    const id = `${random.pick(['item', 'ü', '🎁', '\uffee', ''])}${item}`;
    const sid = codebookSizes.map((size) => random.below(random.chance(0.5) ? Math.min(size, 3) : size));
    const attributes = [
      random.chance(0.5),
      random.pick([0, -1, 255, 2 ** 53 - 1, random.below(1000)]),
      random.pick([0, -0, 0.1, 1e300, random.uniform()]),
      random.pick(['', 'x', 'Ünï 🎁', `text ${random.below(20)}`]),
      random.pick([0, Date.UTC(9999, 11, 31), -1, random.below(2 ** 30)]),
      Array.from({ length: random.below(4) }, () => random.pick(['x', 'y', '', 'é'])),
    ].map((value) => (random.chance(0.2) ? undefined : value));
    builder.add({ id, sid, attributes }, item + 1);
  }
  return builder.build();
}
