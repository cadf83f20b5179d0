import { chooseHostKernel, type Scan } from '../../kernels/index.js';
import type { AttributeSchema, ColumnTable } from '../columns.js';
import { wantBool } from './checks.js';
import { compileExpression } from './compile-expression.js';
import { fault } from './fault.js';
import { expectedName } from './names.js';
import type { RuleParams } from './params.js';
import type { Scope } from './scope.js';
import { parseRule } from './syntax.js';
import { type BoolNode, bitsOf, newContext, truthOf } from './values.js';

/** A rule as a tree of column operations: for one schema and one set of parameters. */
export interface CompiledRule {
  source: string;
  /** The attributes that the rule reads, in the order in which they first come. */
  attributes: string[];
  /** Its answer changes with time. */
  usesNow: boolean;
  /** The tree, for those who evaluate it. */
  root: BoolNode;
}

/**
 * Compiles a CEL expression over the attributes of `schema`.
 * @throws EspalierError ESP_RULE_SYNTAX, ESP_RULE_NAME, ESP_RULE_TYPE, ESP_RULE_UNSUPPORTED or
 *   ESP_RULE_TOO_LARGE, its one detail with the position in the source.
 * @see docs/rules.md
 */
export function compileRule(source: string, schema: AttributeSchema, params: RuleParams): CompiledRule {
  const { rule, readParams } = compile(source, schema, params);
  // A misspelt parameter would go unnoticed where the rule asks has(params.x).
  const unread = Object.keys(params).find((name) => !readParams.has(name));
  if (unread !== undefined) {
    const expected = expectedName('only parameters that the rule reads', unread, [...readParams]);
    throw fault('ESP_RULE_NAME', 0, expected, `params.${unread}`);
  }
  return rule;
}

/** Compiles a part of a rule, whose other parts may read the other parameters. @throws what `compileRule` does */
export function compileRulePart(source: string, schema: AttributeSchema, params: RuleParams): CompiledRule {
  return compile(source, schema, params).rule;
}

function compile(
  source: string,
  schema: AttributeSchema,
  params: RuleParams,
): { rule: CompiledRule; readParams: ReadonlySet<string> } {
  const syntax = parseRule(source);
  const attributes = new Set<string>();
  const reads = { now: false, params: new Set<string>() };
  const scope: Scope = { syntax, schema, params, attributes, reads, compile: compileExpression };
  const root = wantBool(compileExpression(syntax.expr, scope), 'the rule');
  const rule = { source, attributes: [...attributes], usesNow: reads.now, root };
  return { rule, readParams: reads.params };
}

/**
 * The items that the rule allows: those for which it is true (neither false nor an error).
 * @param table  of the schema that the rule was compiled for
 * @param nowMs  the value of `now`, in ms since 1970
 * @param scanWith  what runs the scan program: by default the chosen kernel
 * @returns one bit an item, wordsFor(itemCount) words, bits beyond itemCount clear; owned by the caller
 */
export function evaluateRule(
  rule: CompiledRule,
  table: ColumnTable,
  nowMs: number,
  scanWith: Scan = chooseHostKernel().scan,
): Uint32Array {
  const context = newContext(table.itemCount, table, Math.trunc(nowMs), scanWith);
  return bitsOf(truthOf(rule.root, context).whenTrue, context);
}
