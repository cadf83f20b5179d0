import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph } from '../onnx-graph.js';
import { checkGraph, int64Rule, LOGITS_RULE, showShape, type TensorRule } from './tensor-rules.js';

const CONTEXT = /^context\.\d+\.(key|value)$/;

/** One layer's keys or values, by their names in the graphs. */
export interface SharedLayer {
  context: string;
  past: string;
  present: string;
  heads: number;
  headSize: number;
}

/** @param step a graph that passed the check. */
export function layersOf(step: OnnxGraph): SharedLayer[] {
  return step.inputs
    .filter(({ name }) => CONTEXT.test(name))
    .map(({ name, shape }) => ({
      context: name,
      past: name.replace('context', 'past_key_values'),
      present: name.replace('context', 'present'),
      heads: shape[1] as number,
      headSize: shape[3] as number,
    }));
}

/** The contexts that `step` asks for say how many layers, heads and numbers a head there are everywhere else. */
export function checkSharedContext(prefill: OnnxGraph, step: OnnxGraph): ErrorDetail[] {
  const contexts = step.inputs.filter(({ name }) => CONTEXT.test(name));
  if (contexts.length === 0) {
    const found = step.inputs.map(({ name }) => name).join(', ');
    return [{ field: 'step: context.0.key', expected: 'inputs context.{i}.key|value', found }];
  }
  const unfixed = contexts.filter(
    ({ shape }) => shape.length !== 4 || typeof shape[1] !== 'number' || typeof shape[3] !== 'number',
  );
  if (unfixed.length > 0) {
    return unfixed.map(({ name, type, shape }) => ({
      field: `step: ${name}`,
      expected: 'float32 [dynamic, heads, dynamic, headSize] with fixed heads and headSize',
      found: `${type} ${showShape(shape)}`,
    }));
  }
  const layers = layersOf(step);
  const rule = (name: string, shape: TensorRule['shapes'][0]): TensorRule => ({
    name,
    type: 'float32',
    shapes: [shape],
    required: true,
  });
  return [
    ...checkGraph(
      prefill,
      [int64Rule('input_ids', true), int64Rule('attention_mask', false), int64Rule('position_ids', false)],
      [
        LOGITS_RULE,
        ...layers.map(({ context, heads, headSize }) => rule(context, ['*', heads, '*', headSize])),
      ],
      'prefill: ',
    ),
    ...checkGraph(
      step,
      [
        int64Rule('input_ids', true),
        int64Rule('position_ids', false),
        int64Rule('context_mask', false),
        ...layers.flatMap(({ context, past, heads, headSize }) => [
          rule(context, ['dynamic', heads, 'dynamic', headSize]),
          rule(past, ['dynamic', 'dynamic', heads, 'dynamic', headSize]),
        ]),
      ],
      [
        rule('logits', ['*', '*', '*']),
        ...layers.map(({ present, heads, headSize }) => rule(present, ['*', '*', heads, '*', headSize])),
      ],
      'step: ',
    ),
  ];
}
