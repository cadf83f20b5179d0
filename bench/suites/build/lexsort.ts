import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { NumberRows } from '../../baselines/js-build.js';

const script = fileURLToPath(new URL('lexsort.py', import.meta.url));

/** numpy in a process of its own, which keeps the rows: only the sort is waited for. */
export class Lexsort {
  /** Such as `numpy 2.4.6`. */
  readonly version: string;
  readonly #process: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #errors: string[];

  private constructor(
    child: ChildProcess,
    answers: AsyncIterator<string>,
    errors: string[],
    version: string,
  ) {
    this.#process = child;
    this.#answers = answers;
    this.#errors = errors;
    this.version = version;
  }

  /** @returns why there is none, where there is no numpy */
  static async start(python = 'python3'): Promise<Lexsort | string> {
    const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'pipe'] });
    const errors: string[] = [];
    child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text));
    // Whoever writes to a process that has ended sees it by the answer that does not come.
    child.stdin.on('error', () => {});
    const gone = new Promise<string>((resolve) => child.once('error', ({ message }) => resolve(message)));
    const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await Promise.race([answers.next(), gone]);
    if (typeof first !== 'string' && !first.done) return new Lexsort(child, answers, errors, first.value);
    const lastLine = errors.join('').trim().split('\n').at(-1);
    return `${python} has no numpy: ${typeof first === 'string' ? first : lastLine}`;
  }

  async load({ codes, codebookSizes }: NumberRows): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), 'espalier-bench-'));
    try {
      const path = join(folder, 'rows');
      writeFileSync(path, new Uint8Array(codes.buffer, codes.byteOffset, codes.byteLength));
      await this.#ask(`load ${path} <u${codes.BYTES_PER_ELEMENT} ${codebookSizes.length}`);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  async sort(): Promise<void> {
    await this.#ask('sort');
  }

  /** Of the row numbers in their order, as little-endian u32: SHA-256 in hex. */
  hash(): Promise<string> {
    return this.#ask('hash');
  }

  async close(): Promise<void> {
    const hasEnded = new Promise((resolve) => this.#process.once('exit', resolve));
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.stdin!.end();
    await hasEnded;
  }

  async #ask(command: string): Promise<string> {
    this.#process.stdin!.write(`${command}\n`);
    const { done, value } = await this.#answers.next();
    if (done) throw new Error(`numpy ended after "${command}": ${this.#errors.join('').trim()}`);
    return value;
  }
}
