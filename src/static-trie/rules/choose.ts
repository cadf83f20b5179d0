import { isBitSet } from '../../kernels/index.js';
import { badCode } from '../number-column.js';
import { chooseBool } from './logic.js';
import {
  type BoolNode,
  bitsOf,
  type Context,
  isPresent,
  maskOf,
  type NumberNode,
  numberNode,
  type ScalarNode,
  type StringNode,
  stringNode,
  truthOf,
} from './values.js';

/** `condition ? yes : no`, the branches of one type; an error of the condition or the chosen branch stays. */
export function choose(start: number, condition: BoolNode, yes: ScalarNode, no: ScalarNode): ScalarNode {
  if (yes.type === 'bool') return chooseBool(start, condition, yes, no as BoolNode);
  if (yes.type === 'string') return chooseString(start, condition, yes, no as StringNode);
  return chooseNumber(start, condition, yes, no as NumberNode);
}

function chooseNumber(start: number, condition: BoolNode, yes: NumberNode, no: NumberNode): NumberNode {
  const constant = condition.constant && yes.constant && no.constant;
  return numberNode(yes.type, start, constant, (context) => {
    const a = yes.evaluate(context);
    const b = no.evaluate(context);
    const { isYes, present } = choice(condition, a, b, context);
    const at = (index: number) => {
      const { values } = isBitSet(isYes, index) ? a : b;
      return values[index & maskOf(values)];
    };
    if (a.values instanceof Float64Array && b.values instanceof Float64Array) {
      const values = new Float64Array(context.itemCount);
      for (let index = 0; index < values.length; index++) values[index] = at(index) as number;
      return { values, present };
    }
    const values = new BigInt64Array(context.itemCount);
    for (let index = 0; index < values.length; index++) {
      if (isPresent({ present }, index)) values[index] = BigInt(at(index));
    }
    return { values, present };
  });
}

function chooseString(start: number, condition: BoolNode, yes: StringNode, no: StringNode): StringNode {
  const constant = condition.constant && yes.constant && no.constant;
  return stringNode(start, constant, (context) => {
    const a = yes.evaluate(context);
    const b = no.evaluate(context);
    const { isYes, present } = choice(condition, a, b, context);
    const count = a.dictionary.length;
    const codes = new Uint32Array(context.itemCount);
    for (let index = 0; index < codes.length; index++) {
      const isA = isBitSet(isYes, index);
      const code = isA ? a.codes[index & maskOf(a.codes)] : b.codes[index & maskOf(b.codes)];
      // Else it would be one of the other dictionary.
      if (isA && code >= count && isPresent({ present }, index)) throw badCode(code, count);
      codes[index] = isA ? code : count + code;
    }
    // Both dictionaries, one after the other.
    const dictionary = {
      length: count + b.dictionary.length,
      at: (code: number) => (code < count ? a.dictionary.at(code) : b.dictionary.at(code - count)),
    };
    return { codes, dictionary, present };
  });
}

/** Where the condition holds, and which items have a value then. */
function choice(
  condition: BoolNode,
  yes: { present: Uint32Array | null },
  no: { present: Uint32Array | null },
  context: Context,
) {
  const { whenTrue, whenFalse } = truthOf(condition, context);
  const isYes = bitsOf(whenTrue, context);
  const present = bitsOf(whenFalse, context);
  for (let word = 0; word < present.length; word++) {
    const a = isYes[word] & (yes.present ? yes.present[word] : -1);
    const b = present[word] & (no.present ? no.present[word] : -1);
    present[word] = a | b;
  }
  return { isYes, present };
}
