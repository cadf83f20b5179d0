import { OddTime } from './exact-time.js';
import { Faults } from './faults.js';
import type { SourceRow } from './item-source.js';

/** A row of a typed table as JSON would have it. Times come as `exactTime` gives them. */
export function plainRow(line: number, values: Iterable<[name: string, value: unknown]>): SourceRow {
  const item: Record<string, unknown> = {};
  const faults = new Faults();
  for (const [name, value] of values) {
    const note = ({ found }: OddTime) => faults.add({ field: name, expected: OddTime.expected, found });
    item[name] = plainValue(value, note);
  }
  return faults.count > 0 ? { line, faults } : { line, item };
}

/** What JSON can't have stays text, so that a fault shows it. */
function plainValue(value: unknown, note: (time: OddTime) => void): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  if (value instanceof OddTime) {
    note(value);
    return undefined;
  }
  if (ArrayBuffer.isView(value)) return Array.from(value as Uint8Array, (entry) => plainValue(entry, note));
  if (Array.isArray(value)) return value.map((entry) => plainValue(entry, note));
  return value;
}
