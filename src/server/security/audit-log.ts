import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs';
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

  /** Waits for what was appended. */
  async close(): Promise<void> {
    await this.#writing;
  }

  async #writeWaiting(): Promise<void> {
    const entries = this.#waiting;
    this.#waiting = [];
    try {
      await this.#write(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''));
    } catch (thrown) {
      this.#options.onFailure(EspalierError.from(thrown), entries);
    }
  }

  /** Opens the file each time: one that is kept open would keep the disk from being unmounted. */
  async #write(lines: string): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    giveToOwner(this.#folder, this.#dataDir);
    const path = join(this.#folder, CURRENT);
    if (existsSync(path) && statSync(path).size >= this.#options.maxFileBytes) this.#putAside();
    const isNew = !existsSync(path);
    const file = await open(path, 'a+', 0o600);
    try {
      await endLastLine(file);
      await file.appendFile(lines);
      await file.datasync();
    } finally {
      await file.close();
    }
    if (!isNew) return;
    giveToOwner(path, this.#dataDir);
    syncFolder(this.#folder);
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
async function endLastLine(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  if (size === 0) return;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  if (buffer[0] !== 0x0a) await file.appendFile('\n');
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
