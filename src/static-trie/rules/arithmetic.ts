import { clearBit, isBitSet } from '../../kernels/index.js';
import {
  type Context,
  maskOf,
  type NumberNode,
  type Numbers,
  type NumberType,
  numberNode,
  presentInBoth,
} from './values.js';

export type Operator = '+' | '-' | '*' | '/' | '%';

/** What google.protobuf.Timestamp and CEL's durations (64-bit nanoseconds) can hold, in ms. */
const FIRST_TIMESTAMP_MS = -62_135_596_800_000;
const LAST_TIMESTAMP_MS = 253_402_300_799_999;
export const LONGEST_DURATION_MS = 9_223_372_036_854;

/** The type of `left operator right`, or undefined where CEL has no such operation. */
export function arithmeticType(operator: Operator, left: string, right: string): NumberType | undefined {
  if (left === 'int' && right === 'int') return 'int';
  if (left === 'double' && right === 'double') return operator === '%' ? undefined : 'double';
  switch (`${left} ${operator} ${right}`) {
    case 'timestamp + duration':
    case 'duration + timestamp':
    case 'timestamp - duration':
      return 'timestamp';
    case 'timestamp - timestamp':
    case 'duration + duration':
    case 'duration - duration':
      return 'duration';
  }
  return undefined;
}

export function arithmetic(
  start: number,
  operator: Operator,
  type: NumberType,
  left: NumberNode,
  right: NumberNode,
): NumberNode {
  return numberNode(type, start, left.constant && right.constant, (context) => {
    const a = left.evaluate(context);
    const b = right.evaluate(context);
    if (type === 'int') return intArithmetic(operator, a, b, context);
    const present = presentInBoth(a, b, context);
    const values = doubleArithmetic(operator, a.values as Float64Array, b.values as Float64Array, context);
    if (type === 'timestamp') refuseOutside(values, FIRST_TIMESTAMP_MS, LAST_TIMESTAMP_MS, present);
    if (type === 'duration') refuseOutside(values, -LONGEST_DURATION_MS, LONGEST_DURATION_MS, present);
    return { values, present };
  });
}

export function negateNumber(start: number, operand: NumberNode): NumberNode {
  return numberNode(operand.type, start, operand.constant, (context) => {
    const { values, present } = operand.evaluate(context);
    if (operand.type === 'double') {
      return { values: (values as Float64Array).map((value) => -value), present };
    }
    const zero = { values: new Float64Array(1), present };
    return intArithmetic('-', zero, { values, present }, context);
  });
}

function doubleArithmetic(operator: Operator, a: Float64Array, b: Float64Array, { itemCount }: Context) {
  const values = new Float64Array(itemCount);
  const maskA = maskOf(a);
  const maskB = maskOf(b);
  switch (operator) {
    case '+':
      for (let i = 0; i < itemCount; i++) values[i] = a[i & maskA] + b[i & maskB];
      break;
    case '-':
      for (let i = 0; i < itemCount; i++) values[i] = a[i & maskA] - b[i & maskB];
      break;
    case '*':
      for (let i = 0; i < itemCount; i++) values[i] = a[i & maskA] * b[i & maskB];
      break;
    case '/':
      for (let i = 0; i < itemCount; i++) values[i] = a[i & maskA] / b[i & maskB];
      break;
    case '%':
      for (let i = 0; i < itemCount; i++) values[i] = a[i & maskA] % b[i & maskB];
      break;
  }
  return values;
}

/**
 * 64-bit integers: in doubles while every result is a safe integer (then the double operation was exact),
 * else all again in BigInt. Overflow and division by zero are errors of that item.
 */
function intArithmetic(operator: Operator, a: Numbers, b: Numbers, context: Context): Numbers {
  const present = presentInBoth(a, b, context);
  if (!(a.values instanceof Float64Array && b.values instanceof Float64Array)) {
    return wideArithmetic(operator, a, b, present, context);
  }
  const divides = operator === '/' || operator === '%';
  if (divides) {
    for (let index = 0; index < context.itemCount; index++) {
      if (b.values[index & maskOf(b.values)] === 0) clearBit(present, index);
    }
  }
  // Taking the remainder away first leaves a quotient that a double holds exactly.
  const values =
    operator === '/'
      ? truncatingDivision(a.values, b.values, context)
      : doubleArithmetic(operator, a.values, b.values, context);
  for (let index = 0; index < values.length; index++) {
    if (!Number.isSafeInteger(values[index]) && isBitSet(present, index)) {
      return wideArithmetic(operator, a, b, present, context);
    }
    values[index] += 0; // An int has no −0.
  }
  return { values, present };
}

function truncatingDivision(a: Float64Array, b: Float64Array, { itemCount }: Context): Float64Array {
  const values = new Float64Array(itemCount);
  for (let index = 0; index < itemCount; index++) {
    const dividend = a[index & maskOf(a)];
    const divisor = b[index & maskOf(b)];
    values[index] = (dividend - (dividend % divisor)) / divisor;
  }
  return values;
}

function wideArithmetic(operator: Operator, a: Numbers, b: Numbers, present: Uint32Array, context: Context) {
  const values = new BigInt64Array(context.itemCount);
  for (let index = 0; index < values.length; index++) {
    if (!isBitSet(present, index)) continue;
    const x = BigInt(a.values[index & maskOf(a.values)]);
    const y = BigInt(b.values[index & maskOf(b.values)]);
    const exact = wideResult(operator, x, y);
    if (exact === undefined || BigInt.asIntN(64, exact) !== exact) clearBit(present, index);
    else values[index] = exact;
  }
  return { values, present };
}

function wideResult(operator: Operator, x: bigint, y: bigint): bigint | undefined {
  switch (operator) {
    case '+':
      return x + y;
    case '-':
      return x - y;
    case '*':
      return x * y;
    case '/':
      return y === 0n ? undefined : x / y;
    case '%':
      return y === 0n ? undefined : x % y;
  }
}

function refuseOutside(values: Float64Array, least: number, most: number, present: Uint32Array): void {
  for (let index = 0; index < values.length; index++) {
    if (!(values[index] >= least && values[index] <= most)) clearBit(present, index);
  }
}
