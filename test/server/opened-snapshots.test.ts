import { copyFileSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { OpenedSnapshots } from '../../src/server/catalogs/opened-snapshots.js';
import { Random } from '../helpers/random.js';
import { randomItems, smallSchema, writeItems } from '../helpers/small-catalog.js';

const { path: source } = await writeItems(randomItems(new Random(1), 20), [256, 256, 256]);
const folder = mkdtempSync(join(tmpdir(), 'espalier-opened-'));
let opened: OpenedSnapshots;
beforeEach(() => {
  opened = new OpenedSnapshots();
});

/** What a version is while it stays open: opened anew it is another object. */
function open(catalog: string, version: number) {
  const path = join(folder, `${catalog}-${version}.bin`);
  copyFileSync(source, path);
  const changes = { path: join(folder, `${catalog}.log`), after: 0, upTo: 0 };
  return opened.open({ catalog, path }, smallSchema, changes).version;
}

describe('versions that rules are evaluated over', () => {
  it('stay open, however many catalogs there are', () => {
    const names = ['a', 'b', 'c', 'd'];
    const before = names.map((name) => open(name, 1));
    for (const [index, version] of before.entries()) expect(open(names[index], 1)).toBe(version);
  });

  it('are closed when two later ones of their catalog were asked for', () => {
    const [first, other] = [open('a', 1), open('b', 1)];
    open('a', 2);
    expect(open('a', 1)).toBe(first);
    open('a', 3);
    open('a', 2);
    expect(open('a', 1)).not.toBe(first);
    expect(open('b', 1)).toBe(other);
  });

  it('are closed with their catalog, and with no other', () => {
    const [one, other] = [open('a', 1), open('b', 1)];
    opened.forget('a');
    expect(open('a', 1)).not.toBe(one);
    expect(open('b', 1)).toBe(other);
  });
});
