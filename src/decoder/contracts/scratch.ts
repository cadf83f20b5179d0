import type { TensorValue } from '../onnx-graph.js';

/**
 * Memory that a runner uses again at every step, by name: fresh megabytes at each step cost as much as filling
 * them. What is in it is left over from other steps.
 */
export class Scratch {
  readonly #floats = new Map<string, Float32Array>();
  readonly #integers = new Map<string, Integers>();

  /** A float32 tensor with undefined contents, valid until the next call with this name. */
  floats(name: string, dims: readonly number[]): TensorValue<Float32Array> {
    const length = sizeOf(dims);
    let memory = this.#floats.get(name);
    if (memory === undefined || memory.length < length) {
      memory = new Float32Array(roomFor(length, memory?.length));
      this.#floats.set(name, memory);
    }
    return { data: memory.subarray(0, length), dims };
  }

  /** An int64 tensor with undefined contents, valid until the next call with this name. */
  integers(name: string, dims: readonly number[]): IntegerTensor {
    const length = sizeOf(dims);
    let memory = this.#integers.get(name);
    if (memory === undefined || memory.longs.length < length) {
      const longs = new BigInt64Array(roomFor(length, memory?.longs.length));
      memory = { longs, words: new Int32Array(longs.buffer) };
      this.#integers.set(name, memory);
    }
    return new IntegerTensor(memory.longs.subarray(0, length), memory.words, dims);
  }
}

/** int64 as two int32: the low word comes first, as on every machine that Node and ONNX Runtime share. */
interface Integers {
  longs: BigInt64Array;
  words: Int32Array;
}

/** Tokens, positions or masks: integers in [0, 2^31), written without making a BigInt for each. */
export class IntegerTensor implements TensorValue<BigInt64Array> {
  readonly #words: Int32Array;

  constructor(
    readonly data: BigInt64Array,
    words: Int32Array,
    readonly dims: readonly number[],
  ) {
    this.#words = words;
  }

  set(index: number, value: number): void {
    this.#words[2 * index] = value;
  }

  fill(value: number, start: number, end: number): void {
    for (let index = start; index < end; index++) this.#words[2 * index] = value;
  }

  setAll(values: ArrayLike<number>, start = 0): void {
    for (let index = 0; index < values.length; index++) this.#words[2 * (start + index)] = values[index];
  }
}

export function sizeOf(dims: readonly number[]): number {
  return dims.reduce((size, dim) => size * dim, 1);
}

/** A quarter more than what was there, so that batches that grow a little don't allocate each time. */
function roomFor(length: number, before = 0): number {
  return Math.max(length, before + (before >>> 2));
}
