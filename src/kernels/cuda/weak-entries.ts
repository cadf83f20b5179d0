/** A WeakMap that can be walked: its keys are the garbage collector's, as there. */
export class WeakEntries<Key extends object, Value> {
  readonly #values = new WeakMap<Key, { value: Value; ref: WeakRef<Key> }>();
  readonly #refs = new Set<WeakRef<Key>>();
  readonly #collected = new FinalizationRegistry<WeakRef<Key>>((ref) => this.#refs.delete(ref));

  get(key: Key): Value | undefined {
    return this.#values.get(key)?.value;
  }

  set(key: Key, value: Value): void {
    this.delete(key);
    const ref = new WeakRef(key);
    this.#values.set(key, { value, ref });
    this.#refs.add(ref);
    this.#collected.register(key, ref, ref);
  }

  delete(key: Key): void {
    const ref = this.#values.get(key)?.ref;
    if (ref === undefined) return;
    this.#values.delete(key);
    this.#refs.delete(ref);
    this.#collected.unregister(ref);
  }

  /** As they are now: what is walked may be deleted meanwhile. */
  keys(): Key[] {
    return [...this.#refs].flatMap((ref) => ref.deref() ?? []);
  }
}
