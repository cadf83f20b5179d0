import { clearBit, isBitSet } from '../../kernels/index.js';
import { badCode } from '../number-column.js';
import { LONGEST_DURATION_MS } from './arithmetic.js';
import {
  type Context,
  isPresent,
  maskOf,
  type NumberNode,
  type Numbers,
  numberNode,
  ownPresence,
  presentInBoth,
  type StringNode,
  stringNode,
  type Texts,
} from './values.js';

/** `size(string)`, in code points. */
export function stringSize(start: number, operand: StringNode): NumberNode {
  return numberNode('int', start, operand.constant, (context) => {
    const strings = operand.evaluate(context);
    const { codes, dictionary, present } = strings;
    const sizes = new Uint32Array(dictionary.length);
    for (let code = 0; code < sizes.length; code++) sizes[code] = codePoints(dictionary.at(code)!);
    const values = new Float64Array(codes.length);
    for (let index = 0; index < codes.length; index++) {
      if (!isPresent(strings, index)) continue;
      if (codes[index] >= sizes.length) throw badCode(codes[index], sizes.length);
      values[index] = sizes[codes[index]];
    }
    return { values, present };
  });
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** `left + right`, where at least one side is a constant: once for each entry of the other's dictionary. */
export function concatenate(start: number, left: StringNode, right: StringNode): StringNode {
  return stringNode(start, left.constant && right.constant, (context) => {
    const a = left.evaluate(context);
    const b = right.evaluate(context);
    const present = presentInBoth(a, b, context);
    if (right.constant) {
      const suffix = b.dictionary.at(b.codes[0]);
      return { codes: a.codes, dictionary: mapTexts(a.dictionary, (entry) => entry + suffix), present };
    }
    const prefix = a.dictionary.at(a.codes[0]);
    return { codes: b.codes, dictionary: mapTexts(b.dictionary, (entry) => prefix + entry), present };
  });
}

function mapTexts(texts: Texts, map: (entry: string) => string): Texts {
  return { length: texts.length, at: (index) => map(texts.at(index)!) };
}

/** `int(x)` and `double(x)`. */
export function convert(start: number, type: 'int' | 'double', operand: NumberNode): NumberNode {
  return numberNode(type, start, operand.constant, (context) => {
    const numbers = operand.evaluate(context);
    const { values, present } = numbers;
    if (operand.type === type) return numbers;
    if (type === 'double') return { values: Float64Array.from(values as ArrayLike<number>, Number), present };
    if (operand.type === 'double') return truncate(numbers, context);
    // Whole seconds: of a timestamp since 1970 and rounded down, of a duration rounded towards zero.
    const seconds = operand.type === 'timestamp' ? Math.floor : Math.trunc;
    return { values: (values as Float64Array).map((ms) => seconds(ms / 1000) + 0), present };
  });
}

function truncate(doubles: Numbers, context: Context): Numbers {
  const { itemCount } = context;
  const present = ownPresence(doubles, context);
  const values = new Float64Array(itemCount);
  let isWide = false;
  for (let index = 0; index < itemCount; index++) {
    if (!isBitSet(present, index)) continue;
    const value = doubles.values[index & maskOf(doubles.values)] as number;
    // Negated, so that NaN fails; ±2^63 itself fails, too.
    if (!(Math.abs(value) < 2 ** 63)) clearBit(present, index);
    else values[index] = Math.trunc(value) + 0;
    isWide ||= !Number.isSafeInteger(values[index]);
  }
  return { values: isWide ? BigInt64Array.from(values, BigInt) : values, present };
}

const MS_PER_DAY = 86_400_000;

/** The parts of a timestamp, in UTC. */
const timestampParts: Record<string, (date: Date) => number> = {
  getFullYear: (date) => date.getUTCFullYear(),
  getMonth: (date) => date.getUTCMonth(),
  getDate: (date) => date.getUTCDate(),
  getDayOfMonth: (date) => date.getUTCDate() - 1,
  getDayOfWeek: (date) => date.getUTCDay(),
  getDayOfYear: (date) => {
    const newYear = new Date(date).setUTCMonth(0, 1);
    return Math.round((date.getTime() - newYear) / MS_PER_DAY);
  },
  getHours: (date) => date.getUTCHours(),
  getMinutes: (date) => date.getUTCMinutes(),
  getSeconds: (date) => date.getUTCSeconds(),
  getMilliseconds: (date) => date.getUTCMilliseconds(),
};
/** A duration in whole units, rounded towards zero. */
const durationUnits: Record<string, number> = {
  getHours: 3_600_000,
  getMinutes: 60_000,
  getSeconds: 1000,
};

export const timeMethods = Object.keys(timestampParts);

/** `operand.getFullYear()` and its like, or undefined where the type has no such method. */
export function timePart(start: number, method: string, operand: NumberNode): NumberNode | undefined {
  let part: (ms: number) => number;
  if (operand.type === 'timestamp') {
    const date = new Date(0);
    part = (ms) => {
      date.setTime(ms);
      return timestampParts[method](date);
    };
  } else {
    const unit = durationUnits[method];
    if (unit === undefined) return undefined;
    part = (ms) => Math.trunc(ms / unit) + 0;
  }
  return numberNode('int', start, operand.constant, (context) => {
    const { values, present } = operand.evaluate(context);
    const parts = Float64Array.from(values as Float64Array, part);
    return { values: parts, present };
  });
}

/** The time of an RFC 3339 string in ms; 'finer' where it has a part below a millisecond. */
export function parseTimestamp(text: string): number | 'finer' | undefined {
  const match =
    /^(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):([0-5]\d):([0-5]\d)(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/.exec(
      text,
    );
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction = '', sign, offsetHours, offsetMinutes] = match;
  if (/[1-9]/.test(fraction.slice(3))) return 'finer';
  const date = new Date(0);
  date.setUTCFullYear(Number(year), Number(month) - 1, Number(day));
  // 30 February would become a day of March.
  if (date.getUTCMonth() !== Number(month) - 1 || date.getUTCDate() !== Number(day) || year === '0000') {
    return undefined;
  }
  date.setUTCHours(Number(hour), Number(minute), Number(second), Number(fraction.slice(0, 3).padEnd(3, '0')));
  const offset = sign ? Number(`${sign}1`) * (Number(offsetHours) * 60 + Number(offsetMinutes)) : 0;
  return date.getTime() - offset * 60_000;
}

const UNIT_NS: Record<string, bigint> = {
  ns: 1n,
  us: 1000n,
  µs: 1000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};

/** The length of a duration like `168h` or `-1.5h30m` in ms; 'finer' as above. */
export function parseDuration(text: string): number | 'finer' | undefined {
  if (/^[+-]?0$/.test(text)) return 0;
  if (!/^[+-]?((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+$/.test(text) || text.length > 128) return undefined;
  let ns = 0n;
  for (const [, whole, fraction = '', unit] of text.matchAll(/(\d*)\.?(\d*)(ns|us|µs|ms|s|m|h)/g)) {
    ns += BigInt(whole || 0) * UNIT_NS[unit];
    ns += (BigInt(fraction || 0) * UNIT_NS[unit]) / 10n ** BigInt(fraction.length);
  }
  if (text.startsWith('-')) ns = -ns;
  if (ns % 1_000_000n !== 0n) return 'finer';
  const ms = Number(ns / 1_000_000n);
  return Math.abs(ms) <= LONGEST_DURATION_MS ? ms : undefined;
}
