import { type Stats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { EspalierError } from '../../errors.js';
import type { KeyRecord } from './api-keys.js';
import { keyFilePath, readKeyFile } from './key-file.js';

const LOOK_INTERVAL_MS = 250;

/**
 * The keys as a running server knows them: it looks for changes of their file, so that a new key works and a revoked
 * one ends without a restart. Polled, since watching is silent on network file systems.
 *
 * Fails closed: a file that cannot be read, or is gone since, does not mean that there are no keys.
 */
export class KeyStore {
  readonly #dataDir: string;
  readonly #onChange: (failure: EspalierError | undefined, areRequired: boolean) => void;
  readonly #looking: NodeJS.Timeout;
  #isLooking = false;
  #keys: ReadonlyMap<string, KeyRecord> | undefined;
  #failure: EspalierError | undefined;
  #seen: string;

  /**
   * @param onChange told of the state at the start and of every change, with why the keys cannot be read, and whether there
   * are any
   */
  constructor(
    dataDir: string,
    onChange: (failure: EspalierError | undefined, areRequired: boolean) => void = () => {},
  ) {
    this.#dataDir = dataDir;
    this.#onChange = onChange;
    this.#seen = stampOf(() => statSync(keyFilePath(dataDir)));
    this.#read();
    this.#looking = setInterval(() => void this.look(), LOOK_INTERVAL_MS).unref();
  }

  /** Whether keys are asked for: since the first one was made, even if all are revoked or cannot be read. */
  get areRequired(): boolean {
    return this.#keys !== undefined || this.#failure !== undefined;
  }

  /** Why no key can be checked. */
  get failure(): EspalierError | undefined {
    return this.#failure;
  }

  /** @throws EspalierError ESP_KEYS_UNAVAILABLE */
  find(id: string): KeyRecord | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    return this.#keys?.get(id);
  }

  /** Reads the file again if it is another one than the last time. */
  async look(): Promise<void> {
    // One on a file system that hangs waits; others must not queue up behind it.
    if (this.#isLooking) return;
    this.#isLooking = true;
    try {
      const found = await stat(keyFilePath(this.#dataDir)).catch((thrown: unknown) => thrown);
      const stamp = stampOf(() => {
        if (found instanceof Error) throw found;
        return found as Stats;
      });
      if (stamp === this.#seen) return;
      // Before reading: what changes after it is read is another change.
      this.#seen = stamp;
      this.#read();
    } finally {
      this.#isLooking = false;
    }
  }

  close(): void {
    clearInterval(this.#looking);
  }

  #read(): void {
    try {
      const keys = readKeyFile(this.#dataDir);
      if (keys === undefined && this.areRequired) {
        throw new EspalierError('ESP_KEYS_UNAVAILABLE', 'the API keys cannot be read: keys.json is gone');
      }
      this.#keys = keys && new Map(keys.map((key) => [key.id, key]));
      this.#failure = undefined;
    } catch (thrown) {
      this.#failure = EspalierError.from(thrown);
    }
    this.#onChange(this.#failure, this.areRequired);
  }
}

/** What differs between any two states of the file: every change makes a new one. */
function stampOf(look: () => Stats): string {
  try {
    const { ino, mtimeMs, ctimeMs, size } = look();
    return `${ino} ${mtimeMs} ${ctimeMs} ${size}`;
  } catch (thrown) {
    return (thrown as NodeJS.ErrnoException).code ?? 'unknown';
  }
}
