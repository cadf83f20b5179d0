import type { OnnxGraph, TensorValue } from '../onnx-graph.js';
import type { Scratch } from './scratch.js';

/**
 * The int64 inputs of rows that begin at position 0 and have no padding: `input_ids`, and `attention_mask` and
 * `position_ids` where the graph has them. All [rows, length].
 * @param tokens [rows, length]
 */
export function wholeRows(
  graph: OnnxGraph,
  scratch: Scratch,
  tokens: ArrayLike<number>,
  rows: number,
): Map<string, TensorValue> {
  const length = tokens.length / rows;
  const dims = [rows, length];
  const feeds = new Map<string, TensorValue>();
  const ids = scratch.integers('input_ids', dims);
  ids.setAll(tokens);
  feeds.set('input_ids', ids);
  if (hasInput(graph, 'attention_mask')) {
    const mask = scratch.integers('attention_mask', dims);
    mask.fill(1, 0, tokens.length);
    feeds.set('attention_mask', mask);
  }
  if (hasInput(graph, 'position_ids')) {
    const positions = scratch.integers('position_ids', dims);
    for (let index = 0; index < tokens.length; index++) positions.set(index, index % length);
    feeds.set('position_ids', positions);
  }
  return feeds;
}

export function hasInput(graph: OnnxGraph, name: string): boolean {
  return graph.inputs.some((input) => input.name === name);
}
