import { arithmetic, arithmeticType, negateNumber, type Operator } from './arithmetic.js';
import { isNumeric, isScalar, isTime, mismatch, typeName, wantBool } from './checks.js';
import { choose } from './choose.js';
import type { Comparison } from './code-ranges.js';
import { compareNumbers, testStrings } from './compare.js';
import { fault } from './fault.js';
import { concatenate } from './functions.js';
import { and, equalBools, not, or } from './logic.js';
import { inAttribute, inConstants } from './membership.js';
import type { BoolNode, Node, NumberNode, ScalarNode } from './values.js';

/** What the parser calls the operators. */
const SIGNS: Record<string, string> = {
  '_&&_': '&&',
  '_||_': '||',
  '!_': '!',
  '-_': '-',
  '_?_:_': '?:',
  '@in': 'in',
};
for (const sign of ['==', '!=', '<', '<=', '>', '>=', '+', '-', '*', '/', '%']) SIGNS[`_${sign}_`] = sign;

/** The operator's sign, or undefined where `name` is no operator that rules support. */
export function operatorOf(name: string): string | undefined {
  return Object.hasOwn(SIGNS, name) ? SIGNS[name] : undefined;
}

/** An operator over compiled operands; `position` is that of its sign. */
export function compileOperator(sign: string, operands: Node[], start: number, position: number): ScalarNode {
  const [left, right] = operands;
  switch (sign) {
    case '&&':
      return and(start, wantBool(left, 'both sides of &&'), wantBool(right, 'both sides of &&'));
    case '||':
      return or(start, wantBool(left, 'both sides of ||'), wantBool(right, 'both sides of ||'));
    case '!':
      return not(start, wantBool(left, 'the operand of !'));
    case '?:':
      return conditional(start, operands);
    case '==':
      return equal(start, position, '==', left, right);
    case '!=':
      return not(start, equal(start, position, '!=', left, right));
    case '<':
    case '<=':
      return ordered(start, position, sign, sign, left, right);
    case '>':
    case '>=':
      // a > b is b < a, also where one is NaN.
      return ordered(start, position, sign, sign === '>' ? '<' : '<=', left, right);
    case 'in':
      return contained(start, position, left, right);
  }
  if (operands.length === 1) {
    if (isNumeric(left)) return negateNumber(start, left);
    throw fault('ESP_RULE_TYPE', left.start, 'the operand of - to be int or double', typeName(left));
  }
  return calculated(start, position, sign as Operator, left, right);
}

function conditional(start: number, [test, yes, no]: Node[]): ScalarNode {
  const condition = wantBool(test, 'the condition of ?:');
  if (!isScalar(yes) || !isScalar(no)) {
    const list = isScalar(yes) ? no : yes;
    throw fault('ESP_RULE_UNSUPPORTED', list.start, 'single values on both sides of ?:', typeName(list));
  }
  if (yes.type !== no.type) {
    const expected = `both results of ?: to be of one type, here ${yes.type}`;
    throw fault('ESP_RULE_TYPE', no.start, expected, typeName(no));
  }
  return choose(start, condition, yes, no);
}

function comparableNumbers(left: Node, right: Node): [NumberNode, NumberNode] | undefined {
  if (isNumeric(left) && isNumeric(right)) return [left, right];
  return isTime(left) && isTime(right) && left.type === right.type ? [left, right] : undefined;
}

function equal(start: number, position: number, sign: string, left: Node, right: Node): BoolNode {
  const numbers = comparableNumbers(left, right);
  if (numbers) return compareNumbers(start, '==', ...numbers);
  if (left.type === 'string' && right.type === 'string') {
    return testStrings(start, '==', left, right);
  }
  if (left.type === 'bool' && right.type === 'bool') return equalBools(start, left, right);
  if (!isScalar(left) && !isScalar(right)) {
    const expected = `single values on both sides of ${sign}; a list is read with in, size or a macro`;
    throw fault('ESP_RULE_UNSUPPORTED', position, expected, 'two lists');
  }
  throw mismatch(position, sign, left, right);
}

function ordered(
  start: number,
  position: number,
  sign: string,
  how: Exclude<Comparison, '=='>,
  left: Node,
  right: Node,
): BoolNode {
  const isSwapped = sign.startsWith('>');
  const numbers = comparableNumbers(left, right);
  if (numbers) return compareNumbers(start, how, ...(isSwapped ? swap(numbers) : numbers));
  if (left.type === 'string' && right.type === 'string') {
    return isSwapped ? testStrings(start, how, right, left) : testStrings(start, how, left, right);
  }
  if (left.type === 'bool' && right.type === 'bool') {
    throw fault('ESP_RULE_UNSUPPORTED', position, '== or != between booleans', sign);
  }
  throw mismatch(position, sign, left, right);
}

function swap<Item>([left, right]: [Item, Item]): [Item, Item] {
  return [right, left];
}

function contained(start: number, position: number, left: Node, right: Node): BoolNode {
  if (right.type === 'string[]' && left.type === 'string') return inAttribute(start, left, right.attribute);
  if (right.type === 'list' && isScalar(left)) {
    const fits = right.elements.every(
      (element) => element.type === left.type || (isNumeric(element) && isNumeric(left)),
    );
    if (fits) return inConstants(start, left, right.elements);
  }
  if (right.type !== 'list' && right.type !== 'string[]') {
    throw fault('ESP_RULE_TYPE', right.start, 'a list to the right of in', typeName(right));
  }
  throw mismatch(position, 'in', left, right);
}

function calculated(start: number, position: number, sign: Operator, left: Node, right: Node): ScalarNode {
  if (sign === '+' && left.type === 'string' && right.type === 'string') {
    if (left.constant || right.constant) return concatenate(start, left, right);
    throw fault('ESP_RULE_UNSUPPORTED', position, 'a constant on one side of + between strings', 'none');
  }
  if (sign === '+' && !isScalar(left) && !isScalar(right)) {
    throw fault('ESP_RULE_UNSUPPORTED', position, 'numbers, strings or times to add', 'two lists');
  }
  const type = arithmeticType(sign, left.type, right.type);
  if (type === undefined) throw mismatch(position, sign, left, right);
  return arithmetic(start, sign, type, left as NumberNode, right as NumberNode);
}
