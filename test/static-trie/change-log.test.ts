import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { EspalierError } from '../../src/errors.js';
import { type CatalogChange, ChangeLog, ChangeReader } from '../../src/static-trie/index.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-change-log-'));
afterAll(() => rmSync(folder, { recursive: true }));
let number = 0;
const newPath = () => join(folder, `${number++}.log`);
const at = '2026-01-01T00:00:00.000Z';
const corrupt = (message: RegExp) =>
  expect.objectContaining({ code: 'ESP_ARTIFACT_CORRUPT', message: expect.stringMatching(message) });

/** A log with changes that remove `1`, `2`, … */
function logOf(count: number): { path: string; log: ChangeLog; changes: CatalogChange[] } {
  const path = newPath();
  const log = ChangeLog.open(path);
  const changes = Array.from({ length: count }, (_, index) => log.append({ at, remove: [`${index + 1}`] }));
  return { path, log, changes };
}

/** Everything that a log has. */
const contentOf = (path: string, after: number) =>
  new ChangeReader(path, after).catchUp(ChangeLog.open(path).lastSeq);

describe('a log of changes', () => {
  it('numbers changes from 1, and has them after it was opened again', () => {
    const path = newPath();
    const log = ChangeLog.open(path);
    expect(log.lastSeq).toBe(0);
    expect(existsSync(path)).toBe(false);
    const first = log.append({ at, by: 'key', remove: ['a', 'ä\n😀'] });
    const attributes = { price: null, title: 'x\n', since: 12, tags: ['p'], gift: false };
    const second = log.append({ at, update: [{ id: 'b', attributes }] });
    expect([first.seq, second.seq, log.lastSeq]).toEqual([1, 2, 2]);
    log.close();
    expect(() => log.append({ at })).toThrow(/closed/);
    expect(ChangeLog.open(path).lastSeq).toBe(2);
    expect(contentOf(path, 0)).toEqual([
      { seq: 1, at, by: 'key', remove: ['a', 'ä\n😀'] },
      { seq: 2, at, update: [{ id: 'b', attributes }] },
    ]);
  });

  it('reads lines that are longer than a piece of the file', () => {
    const { path, log } = logOf(3);
    const remove = Array.from({ length: 30_000 }, (_, index) => `item ${index}`);
    log.append({ at, remove });
    log.append({ at, remove: ['last'] });
    expect(contentOf(path, 3)).toEqual([
      { seq: 4, at, remove },
      { seq: 5, at, remove: ['last'] },
    ]);
  });

  it('cuts off a last line without its end, wherever that is, and goes on behind it', () => {
    const { path, changes } = logOf(3);
    const bytes = readFileSync(path);
    const lastLine = bytes.subarray(0, -1).lastIndexOf('\n') + 1;
    for (let length = lastLine; length < bytes.length; length++) {
      const torn = newPath();
      writeFileSync(torn, bytes.subarray(0, length));
      const log = ChangeLog.open(torn);
      expect([length, log.lastSeq, statSync(torn).size]).toEqual([length, 2, lastLine]);
      const next = log.append({ at, remove: ['other'] });
      expect(contentOf(torn, 0)).toEqual([...changes.slice(0, 2), next]);
    }
  });

  it('refuses damage anywhere else, and names the line', () => {
    const { path } = logOf(3);
    const bytes = readFileSync(path);
    let line = 1;
    for (let index = 0; index < bytes.length - 1; index++) {
      const damaged = Buffer.from(bytes);
      damaged[index] ^= 1;
      const copy = newPath();
      writeFileSync(copy, damaged);
      const isEnd = bytes[index] === 10;
      expect(() => ChangeLog.open(copy)).toThrow(corrupt(new RegExp(`^\\d+\\.log, line ${line}: expected `)));
      expect(() => new ChangeReader(copy, 0).catchUp(3)).toThrow(corrupt(/line/));
      if (isEnd) line++;
    }
  });

  it('refuses a file in which a change is missing, or comes twice', () => {
    const { path } = logOf(3);
    const lines = readFileSync(path, 'utf8').split(/(?<=\n)/);
    const found = (order: number[]) => {
      const copy = newPath();
      writeFileSync(copy, order.map((index) => lines[index]).join(''));
      return () => ChangeLog.open(copy);
    };
    expect(found([0, 1, 3])).toThrow(corrupt(/line 3: expected change 2, found change 3/));
    expect(found([0, 1, 1, 2])).toThrow(corrupt(/line 3: expected change 2, found change 1/));
    expect(found([0, 2])).toThrow(corrupt(/line 2: expected change 1, found change 2/));
  });

  it('refuses a file without a header, and one of another kind', () => {
    const path = newPath();
    writeFileSync(path, '');
    expect(() => ChangeLog.open(path)).toThrow(corrupt(/line 1: expected a header, found no whole line/));
    writeFileSync(path, '00000000 \n');
    expect(() => ChangeLog.open(path)).toThrow(corrupt(/line 1: expected JSON/));
    writeFileSync(path, 'fee2c3e5 null\n');
    expect(() => ChangeLog.open(path)).toThrow(EspalierError);
  });

  it('keeps its number when it is pruned, also of all changes', () => {
    const { path, log, changes } = logOf(5);
    log.prune(2);
    log.prune(1);
    expect(contentOf(path, 2)).toEqual(changes.slice(2));
    expect(() => new ChangeReader(path, 1).catchUp(5)).toThrow(
      corrupt(/expected change 2, found none up to 2/),
    );
    log.prune(100);
    expect([log.lastSeq, ChangeLog.open(path).lastSeq]).toEqual([5, 5]);
    expect(contentOf(path, 5)).toEqual([]);
    expect(log.append({ at }).seq).toBe(6);
    expect(ChangeLog.open(path).append({ at }).seq).toBe(7);
    expect(contentOf(path, 5).map(({ seq }) => seq)).toEqual([6, 7]);
    expect(() => new ChangeReader(path, 4).catchUp(6)).toThrow(corrupt(/change 5/));
  });

  it('is as it was when the disk refuses a change, and takes the next one', () => {
    const { path, changes } = logOf(2);
    const { size } = statSync(path);
    const module = new URL('../../dist/static-trie/index.js', import.meta.url).href;
    // The child may write files of 64 KiB at most, as on a disk that is full.
    const script = `
      const { ChangeLog } = await import(${JSON.stringify(module)});
      const { statSync } = await import('node:fs');
      const log = ChangeLog.open(${JSON.stringify(path)});
      const remove = Array.from({ length: 20_000 }, (_, index) => 'item ' + index);
      try { log.append({ at: 'large', remove }); } catch ({ code }) { console.log(code, log.lastSeq, statSync(${JSON.stringify(path)}).size); }
      log.append({ at: 'small' });`;
    const { stdout, stderr } = spawnSync(
      'bash',
      ['-c', 'ulimit -f 64 && exec "$@"', 'bash', process.execPath, '--input-type=module', '-e', script],
      { encoding: 'utf8' },
    );
    expect([stdout, stderr]).toEqual([`ESP_WRITE_FAILED 2 ${size}\n`, '']);
    expect(contentOf(path, 0)).toEqual([...changes, { seq: 3, at: 'small' }]);
  });

  it('takes back before the next change what an earlier one left behind', () => {
    const { path, log, changes } = logOf(2);
    writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.alloc(500, 'x\n')]));
    const next = log.append({ at });
    expect(contentOf(path, 0)).toEqual([...changes, next]);
    writeFileSync(path, readFileSync(path).subarray(0, 100));
    expect(() => log.append({ at })).toThrow(corrupt(/expected \d+ bytes, found 100/));
    rmSync(path);
    expect(() => log.append({ at })).toThrow(corrupt(/expected a header, found no file/));
    expect(existsSync(path)).toBe(false);
  });
});

describe('a reader', () => {
  it('says what is missing: no file, too few changes', () => {
    const { path } = logOf(2);
    expect(() => new ChangeReader(newPath(), 0).catchUp(1)).toThrow(
      corrupt(/changes up to 1, found no file/),
    );
    expect(new ChangeReader(newPath(), 3).catchUp(3)).toEqual([]);
    const reader = new ChangeReader(path, 0);
    expect(() => reader.catchUp(3)).toThrow(corrupt(/line 4: expected changes up to 3, found none behind 2/));
    // What failed took nothing.
    expect(reader.catchUp(2)).toHaveLength(2);
  });

  it('follows a writer through changes, prunings and restarts, and sees each change once', () => {
    fc.assert(
      fc.property(fc.integer(), (caseSeed) => {
        const random = new Random(caseSeed);
        const path = newPath();
        let log = ChangeLog.open(path);
        const written: CatalogChange[] = [];
        let readers: { reader: ChangeReader; seq: number }[] = [
          { reader: new ChangeReader(path, 0), seq: 0 },
        ];
        for (let step = 0; step < 25; step++) {
          switch (random.below(6)) {
            case 0:
              log = ChangeLog.open(path);
              break;
            case 1: {
              const upTo = random.below(written.length + 1);
              log.prune(upTo);
              // Whoever stands before what is gone, and asks for more, is told so.
              for (const { reader, seq } of readers) {
                if (seq < upTo)
                  expect(() => reader.catchUp(written.length)).toThrow(corrupt(/found none up to/));
              }
              readers = readers.filter(({ seq }) => seq >= upTo);
              break;
            }
            case 2:
              readers.push({ reader: new ChangeReader(path, log.lastSeq), seq: log.lastSeq });
              break;
            case 3: {
              for (const one of readers) {
                const upTo = random.below(written.length + 1);
                const expected = written.slice(one.seq, upTo);
                expect(one.reader.copy().catchUp(upTo)).toEqual(expected);
                expect(one.reader.catchUp(upTo)).toEqual(expected);
                one.seq = Math.max(one.seq, upTo);
              }
              break;
            }
            default:
              written.push(log.append({ at, remove: ['x'.repeat(random.below(200))] }));
          }
          expect(log.lastSeq).toBe(written.length);
        }
      }),
      seeded('readers of a log', 60),
    );
  });

  it('reads a log anew that is another one of the same length', () => {
    const { path, log } = logOf(4);
    const reader = new ChangeReader(path, 2);
    expect(reader.catchUp(3).map(({ seq }) => seq)).toEqual([3]);
    const copy = newPath();
    copyFileSync(path, copy);
    log.prune(1);
    const [fifth] = [log.append({ at, remove: ['5'] })];
    expect(statSync(path).size).toBe(statSync(copy).size);
    expect(reader.catchUp(5)).toEqual([{ seq: 4, at, remove: ['4'] }, fifth]);
  });
});
