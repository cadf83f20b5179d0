import { type CelInput, celEnv, parse, plan } from '@bufbuild/cel';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type AttributeSchema, type ColumnTable, valueAt } from '../../../src/static-trie/index.js';
import type { RuleParams } from '../../../src/static-trie/rules/index.js';

// The library reads a timestamp's parts through local time.
process.env.TZ = 'UTC';

/** What the CEL library says of each of the items: true, false, or 'error'. They are bound as CEL values. */
export function verdicts(
  source: string,
  schema: AttributeSchema,
  table: ColumnTable,
  params: RuleParams,
  nowMs: number,
  items: readonly number[] = Array.from({ length: table.itemCount }, (_, index) => index),
): (boolean | 'error')[] {
  const evaluate = plan(celEnv(), parse(source)) as (bindings: Record<string, CelInput>) => unknown;
  return items.map((index) => {
    const item = new Map<string, CelInput>();
    for (const [name, { type }] of Object.entries(schema)) {
      const value = valueAt(table.columns.get(name)!, index);
      if (value === undefined) continue;
      if (type === 'int64') item.set(name, BigInt(value as number));
      else if (type === 'timestamp') item.set(name, timestampFromMs(value as number) as CelInput);
      else item.set(name, value as CelInput);
    }
    const bindings = { ...Object.fromEntries(item), item, params, now: timestampFromMs(nowMs) };
    const result = evaluate(bindings as Record<string, CelInput>);
    return typeof result === 'boolean' ? result : 'error';
  });
}
