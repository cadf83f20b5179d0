import { EspalierError } from '../errors.js';

/** An arena's offsets are u32. */
const MAX_ARENA_BYTES = 2 ** 32 - 1;
const MIN_SLOTS = 1024;
const EMPTY_SLOT = 0xffff_ffff;

/**
 * Strings in one UTF-8 arena: string i is bytes [offsets[i], offsets[i + 1]). Both arrays may be views of a
 * mapped file; a JS string is made only when one is asked for.
 */
export class StringTable {
  readonly bytes: Uint8Array;
  /** [length + 1] */
  readonly offsets: Uint32Array;
  readonly #buffer: Buffer;

  constructor(bytes: Uint8Array, offsets: Uint32Array) {
    this.bytes = bytes;
    this.offsets = offsets;
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  static of(strings: Iterable<string>): StringTable {
    const builder = new StringTableBuilder();
    for (const text of strings) builder.append(text);
    return builder.build();
  }

  get length(): number {
    return this.offsets.length - 1;
  }

  at(index: number): string {
    return this.#buffer.toString('utf8', this.offsets[index], this.offsets[index + 1]);
  }

  *[Symbol.iterator](): Generator<string> {
    for (let index = 0; index < this.length; index++) yield this.at(index);
  }

  /** Whether string `index` is the text whose UTF-8 bytes are `utf8`. */
  equals(index: number, utf8: Uint8Array): boolean {
    return this.offsets[index + 1] - this.offsets[index] === utf8.length && this.compare(index, utf8) === 0;
  }

  /**
   * Orders string `index` against a text by their UTF-8 bytes: negative, 0 or positive.
   * @throws EspalierError ESP_ARTIFACT_CORRUPT where the string is not within the arena
   */
  compare(index: number, utf8: Uint8Array): number {
    const start = this.offsets[index];
    const end = this.offsets[index + 1];
    if (start <= end && end <= this.bytes.length) {
      return this.#buffer.compare(utf8, 0, utf8.length, start, end);
    }
    const message = `string ${index}: bytes ${start} to ${end} of ${this.bytes.length}`;
    throw new EspalierError('ESP_ARTIFACT_CORRUPT', message);
  }
}

/**
 * Collects strings into an arena, and finds those that it has already with a hash table of 8 bytes an entry:
 * no JS string is kept, and their number is not bounded by a `Map`'s 16.7 million entries.
 * `append` and `intern` are not to be mixed.
 */
export class StringTableBuilder {
  // Random, so that nobody can prepare strings that all collide.
  readonly #seed = Math.floor(Math.random() * 2 ** 32);
  #bytes = new Uint8Array(4096);
  #offsets = new Uint32Array(256);
  #count = 0;
  #slots = new Uint32Array(0);
  #hashes = new Uint32Array(0);

  get length(): number {
    return this.#count;
  }

  /** Adds a string, whether or not it is there already. @returns its number. */
  append(text: string): number {
    return this.#commit(this.#write(text));
  }

  /**
   * @returns the number of a string: that of the same string added before, or a new one, the `length` until now.
   * @throws EspalierError ESP_SHAPE beyond 4 GiB of text.
   */
  intern(text: string): number {
    if (this.#count * 2 >= this.#slots.length) this.#growSlots();
    const start = this.#offsets[this.#count];
    const end = this.#write(text);
    const hash = hashBytes(this.#bytes, start, end, this.#seed);
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    for (; this.#slots[slot] !== EMPTY_SLOT; slot = (slot + 1) & mask) {
      if (this.#hashes[slot] === hash && this.#isAt(this.#slots[slot], start, end)) return this.#slots[slot];
    }
    this.#slots[slot] = this.#count;
    this.#hashes[slot] = hash;
    return this.#commit(end);
  }

  at(index: number): string {
    return Buffer.from(
      this.#bytes.buffer,
      this.#offsets[index],
      this.#offsets[index + 1] - this.#offsets[index],
    ).toString();
  }

  /** The byte at `depth` of a string, or −1 behind its end. */
  byteAt(index: number, depth: number): number {
    const at = this.#offsets[index] + depth;
    return at < this.#offsets[index + 1] ? this.#bytes[at] : -1;
  }

  /** Orders strings a and b by their UTF-8 bytes: negative, 0 or positive. */
  compare(a: number, b: number): number {
    let i = this.#offsets[a];
    let j = this.#offsets[b];
    const endA = this.#offsets[a + 1];
    const endB = this.#offsets[b + 1];
    for (; i < endA && j < endB; i++, j++) {
      if (this.#bytes[i] !== this.#bytes[j]) return this.#bytes[i] - this.#bytes[j];
    }
    return endA - i - (endB - j);
  }

  /** @param order the numbers of the strings to keep, in their new order; all of them where left out. */
  build(order?: Uint32Array): StringTable {
    if (order === undefined) {
      return new StringTable(
        this.#bytes.slice(0, this.#offsets[this.#count]),
        this.#offsets.slice(0, this.#count + 1),
      );
    }
    const offsets = new Uint32Array(order.length + 1);
    for (let index = 0; index < order.length; index++) {
      offsets[index + 1] = offsets[index] + this.#offsets[order[index] + 1] - this.#offsets[order[index]];
    }
    const bytes = new Uint8Array(offsets[order.length]);
    for (let index = 0; index < order.length; index++) {
      const end = this.#offsets[order[index] + 1];
      let to = offsets[index];
      for (let from = this.#offsets[order[index]]; from < end; from++) bytes[to++] = this.#bytes[from];
    }
    return new StringTable(bytes, offsets);
  }

  /** Writes a text behind the last string, where the next one overwrites it unless it is committed. */
  #write(text: string): number {
    const start = this.#offsets[this.#count];
    // A UTF-16 code unit takes at most three bytes.
    this.#reserve(start + text.length * 3);
    const bytes = this.#bytes;
    for (let index = 0; index < text.length; index++) {
      const unit = text.charCodeAt(index);
      if (unit > 127) return start + utf8.encodeInto(text, bytes.subarray(start)).written;
      bytes[start + index] = unit;
    }
    return start + text.length;
  }

  #commit(end: number): number {
    if (this.#count + 2 > this.#offsets.length) {
      const larger = new Uint32Array(this.#offsets.length * 2);
      larger.set(this.#offsets);
      this.#offsets = larger;
    }
    this.#offsets[this.#count + 1] = end;
    return this.#count++;
  }

  #isAt(index: number, start: number, end: number): boolean {
    const from = this.#offsets[index];
    if (this.#offsets[index + 1] - from !== end - start) return false;
    for (let at = 0; at < end - start; at++) {
      if (this.#bytes[from + at] !== this.#bytes[start + at]) return false;
    }
    return true;
  }

  #reserve(byteCount: number): void {
    if (byteCount <= this.#bytes.length) return;
    if (byteCount > MAX_ARENA_BYTES) {
      throw new EspalierError('ESP_SHAPE', `strings must take at most ${MAX_ARENA_BYTES} bytes together`);
    }
    const larger = new Uint8Array(Math.min(MAX_ARENA_BYTES, Math.max(byteCount, this.#bytes.length * 2)));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }

  #growSlots(): void {
    const oldSlots = this.#slots;
    const oldHashes = this.#hashes;
    const length = Math.max(MIN_SLOTS, oldSlots.length * 2);
    this.#slots = new Uint32Array(length).fill(EMPTY_SLOT);
    this.#hashes = new Uint32Array(length);
    for (let old = 0; old < oldSlots.length; old++) {
      if (oldSlots[old] === EMPTY_SLOT) continue;
      let slot = oldHashes[old] & (length - 1);
      while (this.#slots[slot] !== EMPTY_SLOT) slot = (slot + 1) & (length - 1);
      this.#slots[slot] = oldSlots[old];
      this.#hashes[slot] = oldHashes[old];
    }
  }
}

const utf8 = new TextEncoder();

/** MurmurHash3's 32-bit mix over single bytes, for hash tables: not for checksums, not for secrets. */
export function hashBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let hash = seed;
  for (let at = start; at < end; at++) {
    hash = Math.imul(hash ^ bytes[at], 0xcc9e2d51);
    hash = Math.imul((hash << 13) | (hash >>> 19), 5) + 0x1b873593;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
