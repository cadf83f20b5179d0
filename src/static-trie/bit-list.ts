import { GrowingArray } from './growing-array.js';

/** Bits that are added one by one. */
export class BitList {
  readonly #words = new GrowingArray(Uint32Array);
  /** The bits that do not fill a word yet. */
  #word = 0;
  #length = 0;
  #trueCount = 0;

  get length(): number {
    return this.#length;
  }

  get trueCount(): number {
    return this.#trueCount;
  }

  push(bit: boolean): void {
    if (bit) {
      this.#word |= 1 << (this.#length & 31);
      this.#trueCount++;
    }
    if ((++this.#length & 31) === 0) {
      this.#words.push(this.#word);
      this.#word = 0;
    }
  }

  at(index: number): boolean {
    const word = index >>> 5 === this.#words.length ? this.#word : this.#words.at(index >>> 5);
    return ((word >>> (index & 31)) & 1) === 1;
  }
}
