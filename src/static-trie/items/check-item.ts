import { describe } from '../../errors.js';
import type { AttributeSchema, AttributeType, AttributeValue } from '../columns.js';
import { Faults } from './faults.js';

const MAX_ID_LENGTH = 256;
const MAX_STRING_LENGTH = 32_768;
const MAX_LIST_LENGTH = 4_096;

/** One row of an upload, checked. */
export interface ParsedItem {
  id: string;
  sid: number[];
  /** In the order of the schema's names; undefined is missing. */
  attributes: (AttributeValue | undefined)[];
}

/** @returns the item, or what is wrong with what should be one. */
export function checkItem(
  json: unknown,
  schema: AttributeSchema,
  codebookSizes: readonly number[],
): ParsedItem | Faults {
  if (!isObject(json)) return Faults.of({ expected: 'one JSON object', found: describe(json) });
  const faults = new Faults();
  const { id, sid, ...attributes } = json;
  checkId(id, faults);
  checkSid(sid, codebookSizes, faults);
  const names = Object.keys(schema);
  const unknown = Object.keys(attributes).filter((name) => !Object.hasOwn(schema, name));
  addUnknownAttributes(unknown, names, faults);
  const values = names.map((name) => {
    const value = Object.hasOwn(attributes, name) ? attributes[name] : undefined;
    if (value === undefined || value === null) return undefined;
    return parseValue(schema[name].type, value, name, faults);
  });
  return faults.count > 0 ? faults : { id: id as string, sid: sid as number[], attributes: values };
}

export function addUnknownAttributes(
  unknown: readonly string[],
  known: readonly string[],
  faults: Faults,
): void {
  if (unknown.length === 0) return;
  const expected = `one of the attributes ${known.join(', ')}`;
  for (const name of unknown) faults.add({ field: name, expected, found: name });
}

export function checkId(id: unknown, faults: Faults): void {
  if (typeof id !== 'string' || id.length < 1 || id.length > MAX_ID_LENGTH || !id.isWellFormed()) {
    const expected = `a string of 1 to ${MAX_ID_LENGTH} characters`;
    faults.add({ field: 'id', expected, found: describe(id) });
  }
}

export function checkSid(sid: unknown, codebookSizes: readonly number[], faults: Faults): void {
  const levels = codebookSizes.length;
  if (!Array.isArray(sid) || sid.length !== levels) {
    const found = Array.isArray(sid) ? `${sid.length} codes` : describe(sid);
    faults.add({ field: 'sid', expected: `a list of ${levels} codes`, found });
    return;
  }
  sid.forEach((code, level) => {
    if (!Number.isInteger(code) || code < 0 || code >= codebookSizes[level]) {
      const expected = `an integer from 0 to ${codebookSizes[level] - 1}`;
      faults.add({ field: `sid[${level}]`, expected, found: describe(code) });
    }
  });
}

/** @returns undefined, and a fault more, where the value does not fit the type */
export function parseValue(
  type: AttributeType,
  value: unknown,
  field: string,
  faults: Faults,
): AttributeValue | undefined {
  const parsed = parsers[type].parse(value);
  if (parsed === undefined) faults.add({ field, expected: parsers[type].expected, found: describe(value) });
  return parsed;
}

/** For each type what it reads; undefined where the value doesn't fit. */
const parsers: Record<
  AttributeType,
  { expected: string; parse: (value: unknown) => AttributeValue | undefined }
> = {
  bool: {
    expected: 'true or false (bool)',
    parse: (value) => (typeof value === 'boolean' ? value : undefined),
  },
  int64: {
    expected: 'an integer within ±(2^53 − 1) (int64)',
    parse: (value) => (Number.isSafeInteger(value) ? (value as number) : undefined),
  },
  double: {
    expected: 'a number (double)',
    parse: (value) => (Number.isFinite(value) ? (value as number) : undefined),
  },
  string: { expected: `a string of at most ${MAX_STRING_LENGTH} characters`, parse: parseString },
  timestamp: {
    expected: 'an ISO 8601 time, to the millisecond at most, e.g. "2011-12-09T12:50:00Z" (timestamp)',
    parse: parseTimestamp,
  },
  'string[]': {
    expected: `a list of at most ${MAX_LIST_LENGTH} strings (string[])`,
    parse: (value) =>
      Array.isArray(value) &&
      value.length <= MAX_LIST_LENGTH &&
      value.every((entry) => parseString(entry) !== undefined)
        ? value
        : undefined,
  },
};

function parseString(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= MAX_STRING_LENGTH && value.isWellFormed()
    ? value
    : undefined;
}

const ISO_TIME =
  /^(\d{4})-(\d{2})-(\d{2})(?:T(?:[01]\d|2[0-3]):\d{2}:\d{2}(?:\.\d{1,3})?(?:Z|[+-]\d{2}:\d{2}))?$/;

/** ISO 8601 with an offset, or a date alone (midnight UTC), as milliseconds since 1970. */
export function parseTimestamp(value: unknown): number | undefined {
  const match = typeof value === 'string' ? ISO_TIME.exec(value) : null;
  if (match === null) return undefined;
  // Rules know the years 1 to 9999; and Date.parse lets the 30th of February pass as the 2nd of March.
  const [year, month, day] = match.slice(1).map(Number);
  if (year < 1) return undefined;
  if (new Date(Date.UTC(year, month - 1, day)).getUTCDate() !== day) return undefined;
  const time = Date.parse(match[0]);
  return Number.isNaN(time) ? undefined : time;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
