import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph, TensorShape } from '../onnx-graph.js';

/** A dimension's rule: a size, or "dynamic" where the graph must take any size, or "*" where it may fix one. */
export type DimensionRule = number | 'dynamic' | '*';

export interface TensorRule {
  name: string;
  type: 'int64' | 'float32';
  /** Alternatives. */
  shapes: DimensionRule[][];
  required: boolean;
}

/** Tokens, masks or positions: int64, every dimension dynamic unless told otherwise. */
export function int64Rule(
  name: string,
  required: boolean,
  shape: DimensionRule[] = ['dynamic', 'dynamic'],
): TensorRule {
  return { name, type: 'int64', shapes: [shape], required };
}

/** Logits by row: of the last position, or of every position. */
export const LOGITS_RULE: TensorRule = {
  name: 'logits',
  type: 'float32',
  shapes: [
    ['*', '*'],
    ['*', '*', '*'],
  ],
  required: true,
};

/**
 * Compares a graph's tensors with a contract's rules.
 * @param prefix goes before the tensors' names, for a contract that has several graphs.
 */
export function checkGraph(
  graph: OnnxGraph,
  inputs: readonly TensorRule[],
  outputs: readonly TensorRule[],
  prefix = '',
): ErrorDetail[] {
  return [
    ...checkTensors('input', graph.inputs, inputs, prefix),
    ...checkTensors('output', graph.outputs, outputs, prefix),
  ];
}

function checkTensors(
  side: 'input' | 'output',
  tensors: readonly TensorShape[],
  rules: readonly TensorRule[],
  prefix: string,
): ErrorDetail[] {
  const faults: ErrorDetail[] = [];
  for (const rule of rules) {
    const tensor = tensors.find(({ name }) => name === rule.name);
    if (tensor === undefined) {
      if (!rule.required) continue;
      const found = tensors.map(({ name }) => name).join(', ') || 'none';
      faults.push({ field: prefix + rule.name, expected: `an ${side} of this name`, found });
    } else if (tensor.type !== rule.type || !rule.shapes.some((shape) => shapeFits(tensor.shape, shape))) {
      const expected = `${rule.type} ${rule.shapes.map(showShape).join(' or ')}`;
      const found = `${tensor.type} ${showShape(tensor.shape)}`;
      faults.push({ field: prefix + rule.name, expected, found });
    }
  }
  for (const { name } of tensors) {
    // Outputs that nobody reads do no harm; an input that nobody feeds does.
    if (side === 'output' || rules.some((rule) => rule.name === name)) continue;
    faults.push({ field: prefix + name, expected: `no other ${side}s than the contract's`, found: name });
  }
  return faults;
}

function shapeFits(shape: readonly (number | string)[], rule: readonly DimensionRule[]): boolean {
  return (
    shape.length === rule.length &&
    // A dimension that the graph leaves open may turn out to be the size that the rule wants.
    shape.every((size, axis) => typeof size === 'string' || rule[axis] === '*' || rule[axis] === size)
  );
}

export function showShape(shape: readonly (number | string)[]): string {
  // Exporters leave dimensions without a name.
  return `[${shape.map((size) => (size === '' ? '?' : size)).join(', ')}]`;
}
