import { execFileSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmdirSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A file system of its own that can be full, or read-only. */
export class SmallDisk {
  readonly path: string;
  readonly #filler: string;

  private constructor(path: string) {
    this.path = path;
    this.#filler = join(path, 'filler');
  }

  /** @returns why there can be none here, where there can't. */
  static mount(size: string): SmallDisk | string {
    const path = mkdtempSync(join(tmpdir(), 'espalier-disk-'));
    try {
      run('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path);
      return new SmallDisk(path);
    } catch (thrown) {
      rmdirSync(path);
      return `no file system can be mounted here: ${String((thrown as { stderr?: Buffer }).stderr ?? thrown).trim()}`;
    }
  }

  /** Takes what room is left. */
  fill(): void {
    const file = openSync(this.#filler, 'a');
    try {
      for (const piece of [1 << 20, 1 << 12]) writeUntilFull(file, Buffer.alloc(piece));
    } finally {
      closeSync(file);
    }
  }

  free(): void {
    rmSync(this.#filler, { force: true });
  }

  setReadOnly(isReadOnly: boolean): void {
    run('mount', '-o', `remount,${isReadOnly ? 'ro' : 'rw'}`, this.path);
  }

  unmount(): void {
    run('umount', '--lazy', this.path);
    rmdirSync(this.path);
  }
}

function writeUntilFull(file: number, piece: Buffer): void {
  try {
    for (;;) writeSync(file, piece);
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOSPC') throw thrown;
  }
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: 'pipe' });
}
