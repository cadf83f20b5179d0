import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph, TensorShape } from '../onnx-graph.js';
import { showShape } from './tensor-rules.js';

/** One layer's keys or values, by the names under which a graph takes and gives them. */
export interface PastTensor {
  pastName: string;
  presentName: string;
  heads: number;
  headSize: number;
}

/**
 * The pasts of a graph, whose inputs are named as `pattern` says.
 * @param presentName the name of the output that continues an input.
 */
export function pastTensors(
  graph: OnnxGraph,
  pattern: RegExp,
  presentName: (pastName: string) => string,
): PastTensor[] {
  return pastInputs(graph, pattern).map(({ name, shape }) => ({
    pastName: name,
    presentName: presentName(name),
    heads: shape[1] as number,
    headSize: shape[3] as number,
  }));
}

export function pastInputs(graph: OnnxGraph, pattern: RegExp): TensorShape[] {
  return graph.inputs.filter(({ name }) => pattern.test(name));
}

/** Heads and head size must be numbers: an empty past is made from them. */
export function checkPastShape({ name, type, shape }: TensorShape): ErrorDetail[] {
  const fits = shape.length === 4 && typeof shape[1] === 'number' && typeof shape[3] === 'number';
  if (fits) return [];
  const expected = 'float32 [dynamic, heads, dynamic, headSize] with fixed heads and headSize';
  return [{ field: name, expected, found: `${type} ${showShape(shape)}` }];
}
