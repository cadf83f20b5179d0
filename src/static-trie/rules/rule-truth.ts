import { isBitSet, scan } from '../../kernels/index.js';
import { buildColumn } from '../column-builder.js';
import type { AttributeSchema, AttributeValue } from '../columns.js';
import { type CompiledRule, evaluateRule } from './compile-rule.js';

/**
 * For which of a few items a rule is true, from their values and by the reference code alone: no catalog's columns,
 * no bitmaps that were kept, no native kernels.
 * @param readValue value of attribute `name` of item `index`; undefined where it is missing
 * @param nowMs the value of `now`, in ms since 1970
 */
export function ruleTruth(
  rule: CompiledRule,
  schema: AttributeSchema,
  itemCount: number,
  readValue: (name: string, index: number) => AttributeValue | undefined,
  nowMs: number,
): boolean[] {
  const columns = rule.attributes.map((name) => {
    const values = Array.from({ length: itemCount }, (_, index) => readValue(name, index));
    return [name, buildColumn(schema[name].type, values)] as const;
  });
  const bits = evaluateRule(rule, { itemCount, columns: new Map(columns) }, nowMs, scan);
  return Array.from({ length: itemCount }, (_, index) => isBitSet(bits, index));
}
