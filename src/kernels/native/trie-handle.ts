import type { TrieArrays } from '../types.js';
import { type Addon, callNative, type TrieHandle } from './addon.js';

/** One handle for each trie of this thread; it goes with the trie. */
const handles = new WeakMap<TrieArrays, TrieHandle>();

/**
 * The native handle of a trie: made, and the trie's structure checked, when it is first asked for.
 * @throws EspalierError ESP_SHAPE on arrays that don't fit each other
 */
export function handleOf(addon: Addon, trie: TrieArrays): TrieHandle {
  let handle = handles.get(trie);
  if (handle === undefined) {
    handle = callNative(() => addon.attachTrie(trie));
    handles.set(trie, handle);
  }
  return handle;
}

/** Keeps the handle that came with a trie. */
export function rememberHandle(trie: TrieArrays, handle: TrieHandle): void {
  handles.set(trie, handle);
}
