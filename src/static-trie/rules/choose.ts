import { isBitSet } from '../../kernels/index.js';
import {
  type BoolNode,
  type Bools,
  boolNode,
  maskOf,
  type NumberNode,
  numberNode,
  type ScalarNode,
  type StringNode,
  stringNode,
} from './values.js';

/** `condition ? yes : no`, the branches of one type; an error of the condition or the chosen branch stays. */
export function choose(start: number, condition: BoolNode, yes: ScalarNode, no: ScalarNode): ScalarNode {
  if (yes.type === 'bool') return chooseBool(start, condition, yes, no as BoolNode);
  if (yes.type === 'string') return chooseString(start, condition, yes, no as StringNode);
  return chooseNumber(start, condition, yes, no as NumberNode);
}

function chooseBool(start: number, condition: BoolNode, yes: BoolNode, no: BoolNode): BoolNode {
  const constant = condition.constant && yes.constant && no.constant;
  return boolNode(start, constant, (context) => {
    const test = condition.evaluate(context);
    const a = yes.evaluate(context);
    const b = no.evaluate(context);
    const isError = chosenErrors(test, a.isError, b.isError);
    return { isTrue: pick(test, a.isTrue, b.isTrue).map((word, i) => word & ~isError[i]), isError };
  });
}

function chooseNumber(start: number, condition: BoolNode, yes: NumberNode, no: NumberNode): NumberNode {
  const constant = condition.constant && yes.constant && no.constant;
  return numberNode(yes.type, start, constant, (context) => {
    const test = condition.evaluate(context);
    const a = yes.evaluate(context);
    const b = no.evaluate(context);
    const isError = chosenErrors(test, a.isError, b.isError);
    const at = (index: number) => {
      const { values } = isBitSet(test.isTrue, index) ? a : b;
      return values[index & maskOf(values)];
    };
    if (a.values instanceof Float64Array && b.values instanceof Float64Array) {
      const values = new Float64Array(context.itemCount);
      for (let index = 0; index < values.length; index++) values[index] = at(index) as number;
      return { values, isError };
    }
    const values = new BigInt64Array(context.itemCount);
    for (let index = 0; index < values.length; index++) {
      if (!isBitSet(isError, index)) values[index] = BigInt(at(index));
    }
    return { values, isError };
  });
}

function chooseString(start: number, condition: BoolNode, yes: StringNode, no: StringNode): StringNode {
  const constant = condition.constant && yes.constant && no.constant;
  return stringNode(start, constant, (context) => {
    const test = condition.evaluate(context);
    const a = yes.evaluate(context);
    const b = no.evaluate(context);
    // Both dictionaries, one after the other.
    const codes = new Uint32Array(context.itemCount);
    for (let index = 0; index < codes.length; index++) {
      codes[index] = isBitSet(test.isTrue, index)
        ? a.codes[index & maskOf(a.codes)]
        : a.dictionary.length + b.codes[index & maskOf(b.codes)];
    }
    const isError = chosenErrors(test, a.isError, b.isError);
    return { codes, dictionary: [...a.dictionary, ...b.dictionary], isError };
  });
}

function pick({ isTrue }: Bools, yes: Uint32Array, no: Uint32Array): Uint32Array {
  return isTrue.map((word, index) => (word & yes[index]) | (~word & no[index]));
}

function chosenErrors(test: Bools, yes: Uint32Array, no: Uint32Array): Uint32Array {
  return pick(test, yes, no).map((word, index) => word | test.isError[index]);
}
