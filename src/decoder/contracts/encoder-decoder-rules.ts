import type { ErrorDetail } from '../../errors.js';
import type { OnnxGraph, TensorShape } from '../onnx-graph.js';
import type { Graphs } from './contract.js';
import { checkPastShape, type PastTensor, pastInputs, pastTensors } from './past-tensors.js';
import { checkGraph, type DimensionRule, int64Rule, LOGITS_RULE, type TensorRule } from './tensor-rules.js';

const SELF_PAST = /^past_key_values\.\d+\.decoder\.(key|value)$/;
const CROSS_PAST = /^past_key_values\.\d+\.encoder\.(key|value)$/;

/** The decoder's keys and values of its own tokens, which grow with every step. */
export function selfTensors(decoderWithPast: OnnxGraph): PastTensor[] {
  return pastTensors(decoderWithPast, SELF_PAST, presentName);
}

/** The keys and values of what the encoder read, which never change. */
export function crossTensors(decoderWithPast: OnnxGraph): PastTensor[] {
  return pastTensors(decoderWithPast, CROSS_PAST, presentName);
}

/** What decoderWithPast asks for says what decoder has to give. */
export function checkEncoderDecoder({ encoder, decoder, decoderWithPast }: Graphs): ErrorDetail[] {
  const selfPasts = pastInputs(decoderWithPast, SELF_PAST);
  const crossPasts = pastInputs(decoderWithPast, CROSS_PAST);
  if (selfPasts.length === 0 || crossPasts.length === 0) {
    const missing = selfPasts.length === 0 ? 'decoder' : 'encoder';
    return [
      {
        field: `decoderWithPast: past_key_values.0.${missing}.key`,
        expected: `inputs past_key_values.{i}.${missing}.key|value`,
        found: decoderWithPast.inputs.map(({ name }) => name).join(', '),
      },
    ];
  }
  const pasts = [...selfPasts, ...crossPasts];
  const shapeFaults = pasts.flatMap(checkPastShape);
  if (shapeFaults.length > 0) {
    return shapeFaults.map((fault) => ({ ...fault, field: `decoderWithPast: ${fault.field}` }));
  }
  const hidden = (required: boolean): TensorRule => ({
    name: 'encoder_hidden_states',
    type: 'float32',
    shapes: [['dynamic', 'dynamic', '*']],
    required,
  });
  return [
    ...checkGraph(
      encoder,
      [int64Rule('input_ids', true), int64Rule('attention_mask', false)],
      [{ name: 'last_hidden_state', type: 'float32', shapes: [['*', '*', '*']], required: true }],
      'encoder: ',
    ),
    ...checkGraph(
      decoder,
      [
        int64Rule('input_ids', true, ['dynamic', '*']),
        int64Rule('encoder_attention_mask', false),
        hidden(true),
      ],
      [LOGITS_RULE, ...pasts.map((past) => presentRule(past))],
      'decoder: ',
    ),
    ...checkGraph(
      decoderWithPast,
      [
        int64Rule('input_ids', true, ['dynamic', 1]),
        int64Rule('encoder_attention_mask', false),
        hidden(false),
        ...pasts.map((past) => pastRule(past)),
      ],
      // The encoder's keys and values don't change; exports that give them again are as good.
      [LOGITS_RULE, ...selfPasts.map((past) => presentRule(past))],
      'decoderWithPast: ',
    ),
  ];
}

function pastRule({ name, shape }: TensorShape): TensorRule {
  return { name, type: 'float32', shapes: [withSizes(shape, 'dynamic')], required: true };
}

function presentRule({ name, shape }: TensorShape): TensorRule {
  return { name: presentName(name), type: 'float32', shapes: [withSizes(shape, '*')], required: true };
}

function withSizes(shape: readonly (number | string)[], others: 'dynamic' | '*'): DimensionRule[] {
  return [others, shape[1] as number, others, shape[3] as number];
}

function presentName(pastName: string): string {
  return pastName.replace('past_key_values', 'present');
}
