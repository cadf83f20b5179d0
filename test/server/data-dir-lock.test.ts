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

/** Processes that begin to lock at the same moment; each says what came of it, and keeps the lock until it is killed. */
async function race(dataDir: string, count: number, atMs: number) {
  const script = `
    import(${JSON.stringify(modulePath)}).then(({ lockDataDir }) => {
      while (Date.now() < ${atMs});
      try { lockDataDir(${JSON.stringify(dataDir)}); console.log('locked'); }
      catch (error) { console.log(error.code); }
      setInterval(() => {}, 1e6);
    });`;
  const racers = Array.from({ length: count }, () =>
    spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  const said = await Promise.all(
    racers.map(async ({ stdout }) => String((await once(stdout!, 'data'))[0]).trim()),
  );
  return {
    said: said.sort(),
    async kill() {
      const ended = racers.map((racer) => once(racer, 'exit'));
      for (const racer of racers) racer.kill('SIGKILL');
      await Promise.all(ended);
    },
  };
}

describe('the lock of a data directory', () => {
  it('is got by exactly one of several that start at once, again and again after kills', async () => {
    const dataDir = newDataDir();
    for (let round = 0; round < 5; round++) {
      // The dead owner of the round before is found by all of them.
      const { said, kill } = await race(dataDir, 4, Date.now() + 700);
      expect(said).toEqual(['ESP_DATA_DIR', 'ESP_DATA_DIR', 'ESP_DATA_DIR', 'locked']);
      expect(locks(dataDir)).toHaveLength(1);
      await kill();
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
