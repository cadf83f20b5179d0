import { fault } from './fault.js';
import { boolConstant, numberConstant, stringConstant } from './leaves.js';
import { MAX_LIST_LENGTH, tooLarge } from './limits.js';
import type { Node, ScalarNode } from './values.js';

export type ParamValue = boolean | number | string | string[] | number[];
/**
 * JSON values that a rule reads as `params.x`: a number is a CEL double, a string a string, a boolean a
 * bool, an array of only strings or only numbers a list.
 */
export type RuleParams = Readonly<Record<string, ParamValue>>;

/** `params.name`, a constant of its value's type. */
export function paramNode(start: number, name: string, value: unknown): Node {
  if (!Array.isArray(value)) return scalar(start, name, value);
  if (value.length > MAX_LIST_LENGTH) {
    throw tooLarge(start, `a list of at most ${MAX_LIST_LENGTH} values`, `${value.length} in params.${name}`);
  }
  const elements = value.map((element: unknown) => scalar(start, name, element));
  if (elements.some(({ type }) => type !== elements[0].type || type === 'bool')) {
    throw wrongValue(start, name, 'a list with values of more than one type');
  }
  return { type: 'list', start, elements };
}

function scalar(start: number, name: string, value: unknown): ScalarNode {
  switch (typeof value) {
    case 'boolean':
      return boolConstant(start, value);
    case 'number':
      return numberConstant(start, 'double', value);
    case 'string':
      return stringConstant(start, value);
    default:
      throw wrongValue(start, name, value === null ? 'null' : 'an object or a list in a list');
  }
}

function wrongValue(start: number, name: string, found: string) {
  const expected = 'a boolean, a number, a string, or a list of only strings or only numbers';
  return fault('ESP_RULE_TYPE', start, `${expected} as params.${name}`, found);
}
