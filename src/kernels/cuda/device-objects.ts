import {
  type Addon,
  type CudaConstraintHandle,
  type CudaContextHandle,
  type CudaMemory,
  type CudaSetHandle,
  type CudaTrieHandle,
  callNative,
  nativeError,
} from '../native/addon.js';
import { handleOf } from '../native/trie-handle.js';
import type { Constraint, LiveLeaves, TrieArrays } from '../types.js';
import { WeakEntries } from './weak-entries.js';

/** A trie on the device, with what has been made for it there. */
interface DeviceTrie {
  handle: CudaTrieHandle;
  sets: WeakEntries<LiveLeaves, CudaSetHandle>;
  constraints: WeakEntries<Constraint, CudaConstraintHandle>;
}

/** What one thread has on a device: each trie, set and constraint once, brought there when it is first asked for. */
export class DeviceObjects {
  readonly #addon: Addon;
  readonly #context: CudaContextHandle;
  readonly #tries = new WeakEntries<TrieArrays, DeviceTrie>();
  /** Sets that stay until they are dropped or released, used or not. */
  readonly #kept = new WeakSet<LiveLeaves>();
  #disposals = 0;
  #isClosed = false;

  constructor(addon: Addon, context: CudaContextHandle) {
    this.#addon = addon;
    this.#context = context;
  }

  /** Changes whenever something is disposed: handles that were kept may be among it. */
  get disposals(): number {
    return this.#disposals;
  }

  hasTrie(trie: TrieArrays): boolean {
    return this.#tries.get(trie) !== undefined;
  }

  hasSet({ trie, live }: Constraint): boolean {
    return live !== null && this.#tries.get(trie)?.sets.get(live) !== undefined;
  }

  /** @throws EspalierError ESP_MEMORY with the numbers where the device has no room */
  async upload(trie: TrieArrays): Promise<void> {
    if (this.hasTrie(trie)) return;
    try {
      const handle = await this.#addon.cudaUploadTrie(this.#context, handleOf(this.#addon, trie));
      // A step may have been faster; and nobody waits for what comes after the end.
      if (this.#isClosed || this.hasTrie(trie)) this.#addon.cudaDispose(handle);
      else this.#remember(trie, handle);
    } catch (thrown) {
      throw nativeError(thrown);
    }
  }

  /** @throws EspalierError ESP_MEMORY where trie, set or exclusions do not fit the device */
  constraintOf(constraint: Constraint): CudaConstraintHandle {
    const trie = this.#trieOf(constraint.trie);
    let handle = trie.constraints.get(constraint);
    if (handle === undefined) {
      const { live, dead } = constraint;
      const set = live && this.#setOf(trie, live);
      handle = callNative(() => this.#addon.cudaCreateConstraint(trie.handle, set, dead?.leaves ?? null));
      trie.constraints.set(constraint, handle);
    }
    return handle;
  }

  /** Frees a constraint that is one request's own; if it is asked for again, it is made again. */
  dropConstraint(constraint: Constraint): void {
    const trie = this.#tries.get(constraint.trie);
    const handle = trie?.constraints.get(constraint);
    if (handle === undefined) return;
    trie!.constraints.delete(constraint);
    this.#dispose(handle);
  }

  /** Lets `dropUnused` leave a set alone. */
  keepSet(live: LiveLeaves): void {
    this.#kept.add(live);
  }

  /** Frees a set with its constraints; if it is asked for again, it is brought there again. */
  dropSet(live: LiveLeaves): void {
    this.#kept.delete(live);
    for (const key of this.#tries.keys()) {
      const trie = this.#tries.get(key)!;
      const handle = trie.sets.get(live);
      if (handle === undefined) continue;
      for (const constraint of trie.constraints.keys()) {
        if (constraint.live === live) this.dropConstraint(constraint);
      }
      trie.sets.delete(live);
      this.#dispose(handle);
    }
  }

  /** Frees sets that are not kept, and constraints, but for those in use. @returns whether there were any */
  dropUnused(used: readonly Constraint[]): boolean {
    const before = this.#disposals;
    for (const key of this.#tries.keys()) {
      const { sets, constraints } = this.#tries.get(key)!;
      for (const live of sets.keys()) {
        if (!this.#kept.has(live) && !used.some((constraint) => constraint.live === live)) this.dropSet(live);
      }
      for (const constraint of constraints.keys()) {
        if (!used.includes(constraint)) this.dropConstraint(constraint);
      }
    }
    return this.#disposals > before;
  }

  /** Frees a trie with its sets and constraints. */
  release(trie: TrieArrays): void {
    const held = this.#tries.get(trie);
    if (held === undefined) return;
    this.#tries.delete(trie);
    this.#dispose(held.handle);
  }

  /** Frees all tries with what is theirs, and those whose upload has begun when it ends. */
  close(): void {
    this.#isClosed = true;
    for (const trie of this.#tries.keys()) this.release(trie);
  }

  /** @throws EspalierError ESP_SYSTEM where the device has failed */
  memory(): CudaMemory {
    return callNative(() => this.#addon.cudaMemory(this.#context));
  }

  #trieOf(trie: TrieArrays): DeviceTrie {
    return (
      this.#tries.get(trie) ??
      this.#remember(
        trie,
        callNative(() => this.#addon.cudaUploadTrieNow(this.#context, handleOf(this.#addon, trie))),
      )
    );
  }

  #remember(trie: TrieArrays, handle: CudaTrieHandle): DeviceTrie {
    const held: DeviceTrie = { handle, sets: new WeakEntries(), constraints: new WeakEntries() };
    this.#tries.set(trie, held);
    return held;
  }

  #setOf(trie: DeviceTrie, live: LiveLeaves): CudaSetHandle {
    let handle = trie.sets.get(live);
    if (handle === undefined) {
      handle = callNative(() => this.#addon.cudaUploadSet(trie.handle, live));
      trie.sets.set(live, handle);
    }
    return handle;
  }

  #dispose(handle: CudaTrieHandle | CudaSetHandle | CudaConstraintHandle): void {
    this.#disposals++;
    callNative(() => this.#addon.cudaDispose(handle));
  }
}
