import { EspalierError } from '../errors.js';

/** What every supported version of Node holds in one typed array. */
const MAX_LENGTH = 2 ** 32 - 1;
const FIRST_LENGTH = 1024;

type NumberArray = Uint8Array | Uint16Array | Uint32Array | Float64Array;
type NumberArrayType<Numbers extends NumberArray> = new (length: number) => Numbers;

/** Numbers in a typed array that doubles as it fills up. */
export class GrowingArray<Numbers extends NumberArray> {
  readonly #type: NumberArrayType<Numbers>;
  #numbers: Numbers;
  #length = 0;

  constructor(type: NumberArrayType<Numbers>) {
    this.#type = type;
    this.#numbers = new type(FIRST_LENGTH);
  }

  get length(): number {
    return this.#length;
  }

  at(index: number): number {
    return this.#numbers[index];
  }

  /** @throws EspalierError ESP_SHAPE where no typed array holds more. */
  push(number: number): void {
    if (this.#length === this.#numbers.length) this.#grow();
    this.#numbers[this.#length++] = number;
  }

  /** The numbers pushed so far: a view, which later ones may leave behind. */
  view(): Numbers {
    return this.#numbers.subarray(0, this.#length) as Numbers;
  }

  #grow(): void {
    const length = Math.min(MAX_LENGTH, this.#length * 2);
    if (length === this.#length) throw new EspalierError('ESP_SHAPE', `expected at most ${length} numbers`);
    let larger: Numbers;
    try {
      larger = new this.#type(length);
    } catch (cause) {
      throw new EspalierError('ESP_SHAPE', `no memory for an array of ${length} numbers`, { cause });
    }
    larger.set(this.#numbers);
    this.#numbers = larger;
  }
}
