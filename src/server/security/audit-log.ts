import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EspalierError } from '../../errors.js';
import { syncFolder } from '../../static-trie/index.js';
import { giveToOwner } from './key-file.js';

/** One change: who, what, which version, when, and what became of it. */
export interface AuditEntry {
  at: string;
  /** As records of what was changed say it, too: the key's name, with the caller's own name where it gave one. */
  by: string | null;
  keyId?: string;
  /** The route, e.g. `PUT /v1/catalogs/:catalog`; `job end`; `keys create`, `keys revoke`. */
  action: string;
  /** What was changed: the catalog, set, model, job or key. */
  target: Record<string, string>;
  version?: number;
  outcome: 'done' | 'accepted' | 'failed';
  /** Why it failed. */
  code?: string;
  requestId?: string;
  address?: string;
}

export interface AuditOptions {
  onFailure: (error: EspalierError, entries: readonly AuditEntry[]) => void;
  /** A file is put aside when it is this long, and the oldest ones go. */
  maxFileBytes?: number;
  maxFiles?: number;
}

const CURRENT = 'audit.jsonl';
const MAX_FILE_BYTES = 4_194_304;
const MAX_FILES = 32;
const ASIDE = /^audit\.(\d+)\.jsonl$/;

/**
 * JSON lines in `audit/` of the data directory. An entry is on disk, synced, when `append` returns; those that come
 * meanwhile share the next sync. A disk that refuses is reported, and stops nothing: changes go on without a log.
 */
export class AuditLog {
  readonly #folder: string;
  readonly #dataDir: string;
  readonly #options: Required<AuditOptions>;
  #file: { handle: FileHandle; bytes: number } | undefined;
  #waiting: AuditEntry[] = [];
  #writing: Promise<void> = Promise.resolve();

  constructor(dataDir: string, options: AuditOptions) {
    this.#dataDir = dataDir;
    this.#folder = join(dataDir, 'audit');
    this.#options = { maxFileBytes: MAX_FILE_BYTES, maxFiles: MAX_FILES, ...options };
  }

  /** Never throws. */
  append(entry: Omit<AuditEntry, 'at'>): Promise<void> {
    this.#waiting.push({ at: new Date().toISOString(), ...entry });
    if (this.#waiting.length === 1) this.#writing = this.#writing.then(() => this.#writeWaiting());
    return this.#writing;
  }

  /** The newest first. */
  async latest(limit: number): Promise<AuditEntry[]> {
    const found: AuditEntry[] = [];
    for (const file of [CURRENT, ...this.#aside().reverse()]) {
      if (found.length >= limit) break;
      found.push(...(await entriesIn(join(this.#folder, file), limit - found.length)));
    }
    return found;
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file?.handle.close();
    this.#file = undefined;
  }

  async #writeWaiting(): Promise<void> {
    const entries = this.#waiting;
    this.#waiting = [];
    const bytes = Buffer.from(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    try {
      const file = await this.#open();
      await file.handle.appendFile(bytes);
      await file.handle.datasync();
      file.bytes += bytes.length;
    } catch (thrown) {
      // Opened anew the next time, which also ends a line that was cut off.
      await this.#file?.handle.close().catch(() => {});
      this.#file = undefined;
      this.#options.onFailure(EspalierError.from(thrown), entries);
    }
  }

  async #open(): Promise<{ handle: FileHandle; bytes: number }> {
    if (this.#file !== undefined && this.#file.bytes >= this.#options.maxFileBytes) {
      await this.#file.handle.close();
      this.#file = undefined;
      this.#putAside();
    }
    if (this.#file !== undefined) return this.#file;
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    giveToOwner(this.#folder, this.#dataDir);
    const path = join(this.#folder, CURRENT);
    const handle = await open(path, 'a+', 0o600);
    this.#file = { handle, bytes: (await handle.stat()).size };
    giveToOwner(path, this.#dataDir);
    syncFolder(this.#folder);
    await endLastLine(this.#file);
    return this.#file;
  }

  #putAside(): void {
    const aside = this.#aside();
    const last = Number(ASIDE.exec(aside.at(-1) ?? '')?.[1] ?? 0);
    renameSync(join(this.#folder, CURRENT), join(this.#folder, `audit.${last + 1}.jsonl`));
    const kept = this.#options.maxFiles - 2;
    for (const file of aside.slice(0, Math.max(0, aside.length - kept))) rmSync(join(this.#folder, file));
  }

  /** The oldest first. */
  #aside(): string[] {
    if (!existsSync(this.#folder)) return [];
    const numberOf = (file: string) => Number(ASIDE.exec(file)![1]);
    return readdirSync(this.#folder)
      .filter((file) => ASIDE.test(file))
      .sort((a, b) => numberOf(a) - numberOf(b));
  }
}

/** A kill or a full disk may have cut off the last line; what comes must not become a part of it. */
async function endLastLine(file: { handle: FileHandle; bytes: number }): Promise<void> {
  if (file.bytes === 0) return;
  const { buffer } = await file.handle.read(Buffer.alloc(1), 0, 1, file.bytes - 1);
  if (buffer[0] === 0x0a) return;
  await file.handle.appendFile('\n');
  file.bytes++;
}

/** The newest first, without lines that were cut off. */
async function entriesIn(path: string, limit: number): Promise<AuditEntry[]> {
  if (!existsSync(path)) return [];
  const found: AuditEntry[] = [];
  for (const line of (await readFile(path, 'utf8')).split('\n').reverse()) {
    if (found.length >= limit) break;
    try {
      if (line !== '') found.push(JSON.parse(line) as AuditEntry);
    } catch {
      // Nothing was acknowledged on its account.
    }
  }
  return found;
}
