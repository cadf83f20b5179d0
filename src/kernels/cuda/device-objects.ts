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

/** A trie on the device, with what has been made for it there. */
interface DeviceTrie {
  handle: CudaTrieHandle;
  sets: WeakMap<LiveLeaves, CudaSetHandle>;
  constraints: WeakMap<Constraint, CudaConstraintHandle>;
}

/** What one thread has on a device: each trie, set and constraint once, brought there when it is first asked for. */
export class DeviceObjects {
  readonly #addon: Addon;
  readonly #context: CudaContextHandle;
  readonly #tries = new WeakMap<TrieArrays, DeviceTrie>();
  #disposals = 0;

  constructor(addon: Addon, context: CudaContextHandle) {
    this.#addon = addon;
    this.#context = context;
  }

  /** Changes whenever something is disposed: handles that were kept may be among it. */
  get disposals(): number {
    return this.#disposals;
  }

  /** @throws EspalierError ESP_MEMORY with the numbers where the device has no room */
  async upload(trie: TrieArrays): Promise<void> {
    if (this.#tries.has(trie)) return;
    try {
      const handle = await this.#addon.cudaUploadTrie(this.#context, handleOf(this.#addon, trie));
      // A step may have been faster.
      if (this.#tries.has(trie)) this.#addon.cudaDispose(handle);
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

  /** Frees a trie with its sets and constraints. */
  release(trie: TrieArrays): void {
    const held = this.#tries.get(trie);
    if (held === undefined) return;
    this.#tries.delete(trie);
    this.#dispose(held.handle);
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
    const held: DeviceTrie = { handle, sets: new WeakMap(), constraints: new WeakMap() };
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

  #dispose(handle: CudaTrieHandle | CudaConstraintHandle): void {
    this.#disposals++;
    callNative(() => this.#addon.cudaDispose(handle));
  }
}
