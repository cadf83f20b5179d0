import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lockDataDir } from '../../src/server/data-dir-lock.js';

const modulePath = new URL('../../dist/server/data-dir-lock.js', import.meta.url).pathname;
const newDataDir = () => mkdtempSync(join(tmpdir(), 'espalier-lock-'));
const locks = (dataDir: string) => readdirSync(dataDir).filter((name) => name.endsWith('.lock'));

const RACES = 300;
const EVERY_MS = 4;

/** Two processes that lock one directory after the other, each at the same moment. @returns what each of them got */
async function race(dataDirs: readonly string[]): Promise<number[][]> {
  const beginMs = Date.now() + 500;
  const script = `
    import(${JSON.stringify(modulePath)}).then(({ lockDataDir }) => {
      const got = ${JSON.stringify(dataDirs)}.flatMap((dataDir, index) => {
        while (Date.now() < ${beginMs} + index * ${EVERY_MS});
        try { lockDataDir(dataDir); return [index]; }
        catch (error) { if (error.code === 'ESP_DATA_DIR') return []; throw error; }
      });
      console.log(JSON.stringify(got));
      setInterval(() => {}, 1e6);
    });`;
  const racers = [0, 1].map(() =>
    spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  const got = await Promise.all(racers.map(async ({ stdout }) => String((await once(stdout!, 'data'))[0])));
  const ended = racers.map((racer) => once(racer, 'exit'));
  for (const racer of racers) racer.kill('SIGKILL');
  await Promise.all(ended);
  return got.map((list) => JSON.parse(list));
}

describe('the lock of a data directory', () => {
  it('is got by exactly one of two that start at once, first and after a kill', async () => {
    const dataDirs = Array.from({ length: RACES }, newDataDir);
    // In the second round all find the lock of a process that was killed.
    for (const round of ['first', 'after kill -9']) {
      const [a, b] = await race(dataDirs);
      expect(
        [...a, ...b].sort((x, y) => x - y),
        round,
      ).toEqual(dataDirs.map((_, index) => index));
      console.log(`${round}: ${a.length} of ${RACES} races were won by one, ${b.length} by the other`);
      expect(dataDirs.every((dataDir) => locks(dataDir).length === 1)).toBe(true);
    }
  });

  it('is taken over where it is torn, given back, or of an earlier server that is gone', () => {
    const dataDir = newDataDir();
    writeFileSync(join(dataDir, 'server.lock'), JSON.stringify({ pid: 2 ** 22 + 1, startedAt: '1' }));
    lockDataDir(dataDir)();
    expect(locks(dataDir)).toEqual(['server.1.lock']);
    writeFileSync(join(dataDir, 'server.1.lock'), '');
    lockDataDir(dataDir)();
    expect(locks(dataDir)).toEqual(['server.2.lock']);
    const release = lockDataDir(dataDir);
    expect(locks(dataDir)).toEqual(['server.3.lock']);
    release();
  });

  it.runIf(process.platform === 'linux')('names the process that has it', () => {
    const dataDir = newDataDir();
    writeFileSync(join(dataDir, 'server.9.lock'), ownerOf(process.ppid));
    expect(() => lockDataDir(dataDir)).toThrow(`another server (process ${process.ppid}) uses`);
    writeFileSync(join(dataDir, 'server.9.lock'), JSON.stringify({ pid: process.ppid, startedAt: 'before' }));
    lockDataDir(dataDir)();
  });
});

/** As the lock of a process says it. */
function ownerOf(pid: number): string {
  const startedAt = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')[19];
  return JSON.stringify({ pid, startedAt });
}
