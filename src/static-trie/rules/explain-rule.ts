import { isBitSet, scan } from '../../kernels/index.js';
import { buildColumn } from '../column-builder.js';
import { type AttributeSchema, type ColumnTable, valueAt } from '../columns.js';
import { type CompiledRule, compileRule, compileRulePart } from './compile-rule.js';
import type { RuleParams } from './params.js';
import { rulePartTexts } from './rule-parts.js';
import { bitsOf, newContext, truthOf } from './values.js';

/** What a rule says of one item. `error`: neither true nor false, as an attribute is missing or arithmetic failed. */
export type Verdict = 'true' | 'false' | 'error';

/** One operand of a rule's outermost `&&` or `||`, or the rule as a whole. */
export interface PartVerdict {
  /** As it stands in the rule. */
  text: string;
  verdict: Verdict;
  /** The attributes that the part reads and the item lacks. */
  missing: string[];
}

export interface RuleVerdict {
  /** The item is allowed where this is `true`. */
  verdict: Verdict;
  parts: PartVerdict[];
}

/**
 * Why a rule allows one item or doesn't: what each of its parts says of it.
 * @param table of the schema
 * @param item its number in the table
 * @param nowMs the value of `now`, in ms since 1970
 * @throws EspalierError ESP_RULE_… as `compileRule` does
 * @see docs/rules.md#why-an-item-is-allowed
 */
export function explainRule(
  rule: string,
  schema: AttributeSchema,
  params: RuleParams,
  table: ColumnTable,
  item: number,
  nowMs: number,
): RuleVerdict {
  const whole = compileRule(rule, schema, params);
  const row = rowOf(table, item, schema, whole.attributes);
  const texts = rulePartTexts(rule);
  const parts = texts.map((text): PartVerdict => {
    // A comment at a part's end needs the end of its line.
    const part = texts.length === 1 ? whole : compileRulePart(`${text}\n`, schema, params);
    const missing = part.attributes.filter((name) => isMissing(row, name));
    return { text, verdict: verdictOf(part, row, nowMs), missing };
  });
  return { verdict: verdictOf(whole, row, nowMs), parts };
}

/** A table of one item alone, and of some attributes: evaluation costs what its table has. */
function rowOf(table: ColumnTable, item: number, schema: AttributeSchema, names: string[]): ColumnTable {
  const columns = names.map((name) => {
    const column = table.columns.get(name);
    const value = column === undefined ? undefined : valueAt(column, item);
    return [name, buildColumn(schema[name].type, [value])] as const;
  });
  return { itemCount: 1, columns: new Map(columns) };
}

function isMissing({ columns }: ColumnTable, name: string): boolean {
  return valueAt(columns.get(name)!, 0) === undefined;
}

function verdictOf({ root }: CompiledRule, row: ColumnTable, nowMs: number): Verdict {
  const context = newContext(1, row, Math.trunc(nowMs), scan);
  const { whenTrue, whenFalse } = truthOf(root, context);
  if (isBitSet(bitsOf(whenTrue, context), 0)) return 'true';
  return isBitSet(bitsOf(whenFalse, context), 0) ? 'false' : 'error';
}
