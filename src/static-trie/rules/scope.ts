import type { AttributeSchema } from '../columns.js';
import { fault } from './fault.js';
import { attributeNode, boolConstant, nowConstant, presenceNode } from './leaves.js';
import { expectedName } from './names.js';
import { paramNode, type RuleParams } from './params.js';
import type { Expr, Syntax } from './syntax.js';
import { type BoolNode, type Node, stringNode } from './values.js';

/** What a rule's names mean while it is compiled, and what it turned out to read. */
export interface Scope {
  syntax: Syntax;
  schema: AttributeSchema;
  params: RuleParams;
  /** The macro variable in whose test we are: there attributes cannot be read. */
  variable?: string;
  attributes: Set<string>;
  reads: { now: boolean; params: Set<string> };
  compile(expr: Expr, scope: Scope): Node;
}

/** A bare name: the macro variable, `now`, or an attribute. */
export function compileName(name: string, start: number, scope: Scope): Node {
  if (name === scope.variable) return stringNode(start, false, (context) => context.local!);
  if (name === 'now') {
    scope.reads.now = true;
    return nowConstant(start);
  }
  if (name === 'item' || name === 'params') {
    throw fault('ESP_RULE_TYPE', start, `${name} with a field, as in ${name}.x`, `${name} alone`);
  }
  return readAttribute(name, start, start, scope);
}

/** `item.x`, `params.x`, and `has()` of either. */
export function compileField(expr: Expr, scope: Scope): Node {
  const { syntax, params } = scope;
  const start = syntax.startOf(expr);
  if (expr.exprKind.case !== 'selectExpr') throw new Error('not a field');
  const { operand, field, testOnly } = expr.exprKind.value;
  const base = operand?.exprKind.case === 'identExpr' ? operand.exprKind.value.name : undefined;
  if ((base !== 'item' && base !== 'params') || base === scope.variable) {
    throw fault(
      'ESP_RULE_UNSUPPORTED',
      start,
      'a field of item or params',
      `a field .${field} of another value`,
    );
  }
  // The parser puts a field at its dot, has() at its bracket: the name is the first match from there.
  const at = Math.max(syntax.source.indexOf(field, syntax.positionOf(operand!) + base.length), start);
  if (base === 'params') {
    scope.reads.params.add(field);
    const isKnown = Object.hasOwn(params, field);
    if (testOnly) return boolConstant(start, isKnown);
    if (isKnown) return paramNode(start, field, params[field]);
    const expected = expectedName('a parameter of this rule', field, Object.keys(params));
    throw fault('ESP_RULE_NAME', at, expected, `params.${field}`);
  }
  return testOnly ? presence(field, start, at, scope) : readAttribute(field, start, at, scope);
}

function readAttribute(name: string, start: number, at: number, scope: Scope): Node {
  const { type } = declared(name, at, scope);
  if (type === 'string[]') return { type, start, attribute: name };
  return attributeNode(start, name, type);
}

function presence(name: string, start: number, at: number, scope: Scope): BoolNode {
  return presenceNode(start, name, declared(name, at, scope).type);
}

function declared(name: string, at: number, scope: Scope) {
  if (!Object.hasOwn(scope.schema, name)) {
    const expected = expectedName('an attribute of the catalog', name, Object.keys(scope.schema));
    throw fault('ESP_RULE_NAME', at, expected, name);
  }
  if (scope.variable !== undefined) {
    throw fault(
      'ESP_RULE_UNSUPPORTED',
      at,
      `only ${scope.variable} and constants inside the macro`,
      `the attribute ${name}`,
    );
  }
  scope.attributes.add(name);
  return scope.schema[name];
}
