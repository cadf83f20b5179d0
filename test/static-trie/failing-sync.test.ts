import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ChangeLog, ChangeReader, writeDurably } from '../../src/static-trie/index.js';
import { whileRefused } from '../helpers/failing-fs.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-failing-sync-'));
afterAll(() => rmSync(folder, { recursive: true }));
let number = 0;
const newPath = () => join(folder, `${number++}`);
const at = '2026-01-01T00:00:00.000Z';
const made = expect.objectContaining({
  code: 'ESP_WRITE_FAILED',
  message: expect.stringMatching(
    /^\S+ cannot be made durable: EIO: i\/o error; it is changed, but a power cut may take that back$/,
  ),
});

describe('a folder that cannot be synced after a rename', () => {
  it('is no reason to say that nothing was changed', async () => {
    const path = newPath();
    writeDurably(path, ['old']);
    await expect(whileRefused('sync', () => writeDurably(path, ['new']))).rejects.toThrow(made);
    expect(readFileSync(path, 'utf8')).toBe('new');
  });

  it('leaves a log that takes the next change at its end, pruned or not', async () => {
    const path = newPath();
    const log = ChangeLog.open(path);
    // Ones that leave a longer and a shorter file behind.
    const changes = Array.from({ length: 6 }, (_, index) =>
      log.append({ at, remove: ['x'.repeat(index * 90)] }),
    );
    for (const upTo of [3, 6]) {
      await expect(whileRefused('sync', () => log.prune(upTo))).rejects.toThrow(made);
      changes.push(log.append({ at, remove: ['next'] }));
      expect(new ChangeReader(path, upTo).catchUp(log.lastSeq)).toEqual(changes.slice(upTo));
      expect(ChangeLog.open(path).lastSeq).toBe(log.lastSeq);
    }
  });

  it('leaves a new log that takes the first change', async () => {
    const path = newPath();
    const log = ChangeLog.open(path);
    await expect(whileRefused('sync', () => log.append({ at, remove: ['lost'] }))).rejects.toThrow(made);
    const first = log.append({ at, remove: ['first'] });
    expect(first.seq).toBe(1);
    expect(new ChangeReader(path, 0).catchUp(1)).toEqual([first]);
  });
});
