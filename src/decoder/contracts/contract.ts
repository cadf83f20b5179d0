import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph, TensorShape, TensorValue } from '../onnx-graph.js';

/** Logits of one decode step: float32 [rows, vocabSize]. */
export interface StepLogits {
  data: Float32Array;
  vocabSize: number;
}

/**
 * One request's decode inside the model: what it has read so far, beam by beam. Decodes of one graph run one
 * after the other, never interleaved.
 */
export interface ModelDecoding {
  /** Reads the history; the logits have one row. */
  start(tokens: readonly number[]): Promise<StepLogits>;
  /**
   * Continues with new beams: beam i follows `parentBeams[i]` of the step before and appends `tokens[i]`.
   * @param isLast nothing follows, so that state for a further step need not be kept.
   */
  advance(parentBeams: Uint32Array, tokens: Uint32Array, isLast: boolean): Promise<StepLogits>;
}

/** How to speak with a graph. */
export interface Contract {
  /** What keeps the graph from being used under this contract; empty when it fits. */
  check(graph: OnnxGraph): ErrorDetail[];
  open(graph: OnnxGraph): ModelDecoding;
}

/** A rule for a tensor: its type, and for each dimension a number, or null where any will do. */
export interface TensorRule {
  name: string;
  type: 'int64' | 'float32';
  shapes: (number | null)[][];
  required: boolean;
}

/** Compares the tensors that a graph has with those that a contract knows. */
export function checkTensors(
  side: 'input' | 'output',
  tensors: readonly TensorShape[],
  rules: readonly TensorRule[],
): ErrorDetail[] {
  const faults: ErrorDetail[] = [];
  for (const rule of rules) {
    const tensor = tensors.find(({ name }) => name === rule.name);
    if (tensor === undefined) {
      if (!rule.required) continue;
      const found = tensors.map(({ name }) => name).join(', ') || 'none';
      faults.push({ field: rule.name, expected: `an ${side} of this name`, found });
    } else if (tensor.type !== rule.type || !rule.shapes.some((shape) => shapeFits(tensor.shape, shape))) {
      const expected = `${rule.type} ${rule.shapes.map(showShape).join(' or ')}`;
      faults.push({ field: rule.name, expected, found: `${tensor.type} ${showShape(tensor.shape)}` });
    }
  }
  for (const { name } of tensors) {
    // Outputs that nobody reads do no harm; an input that nobody feeds does.
    if (side === 'output' || rules.some((rule) => rule.name === name)) continue;
    faults.push({ field: name, expected: `no other ${side}s than the contract's`, found: name });
  }
  return faults;
}

export const LOGITS_RULE: TensorRule = {
  name: 'logits',
  type: 'float32',
  shapes: [
    [null, null],
    [null, null, null],
  ],
  required: true,
};

/** The logits of each row's last position, from [rows, vocab] or [rows, sequence, vocab]. */
export function lastPositionLogits(tensor: TensorValue<Float32Array>): StepLogits {
  const { data, dims } = tensor;
  const vocabSize = dims[dims.length - 1];
  if (dims.length === 2 || dims[1] === 1) return { data, vocabSize };
  const [rows, positions] = dims;
  const last = new Float32Array(rows * vocabSize);
  for (let row = 0; row < rows; row++) {
    const start = (row * positions + positions - 1) * vocabSize;
    last.set(data.subarray(start, start + vocabSize), row * vocabSize);
  }
  return { data: last, vocabSize };
}

export function int64(values: ArrayLike<number>, dims: readonly number[]): TensorValue {
  return { data: BigInt64Array.from({ length: values.length }, (_, index) => BigInt(values[index])), dims };
}

function shapeFits(shape: readonly (number | string)[], rule: readonly (number | null)[]): boolean {
  return (
    shape.length === rule.length &&
    shape.every((size, axis) => typeof size === 'string' || rule[axis] === null || rule[axis] === size)
  );
}

function showShape(shape: readonly (number | string | null)[]): string {
  return `[${shape.map((size) => size ?? '*').join(', ')}]`;
}
