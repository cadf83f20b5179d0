/** A time that no timestamp holds, as a typed table has it. Its row is at fault, whatever the column's type. */
export class OddTime {
  static readonly expected = 'a time of the years 1 to 9999, to the millisecond at most';
  readonly found: string;

  constructor(found: string) {
    this.found = found;
  }
}

/** What typed tables count since 1970, and how many of a unit make a millisecond, or milliseconds a unit. */
const units = {
  days: { milliseconds: 86_400_000n, parts: 1n },
  seconds: { milliseconds: 1_000n, parts: 1n },
  milliseconds: { milliseconds: 1n, parts: 1n },
  microseconds: { milliseconds: 1n, parts: 1_000n },
  nanoseconds: { milliseconds: 1n, parts: 1_000_000n },
} as const;
export type TableTimeUnit = keyof typeof units;

/** The years that rules know. */
const FIRST = BigInt(Date.parse('0001-01-01T00:00:00.000Z'));
const LAST = BigInt(Date.parse('9999-12-31T23:59:59.999Z'));

/** A whole number of units since 1970 as ISO 8601 text: exact, or none. */
export function exactTime(count: bigint, unit: TableTimeUnit): string | OddTime {
  const { milliseconds, parts } = units[unit];
  const time = (count * milliseconds) / parts;
  if (count % parts !== 0n || time < FIRST || time > LAST) {
    return new OddTime(`${count} ${unit} since 1970`);
  }
  return new Date(Number(time)).toISOString();
}
