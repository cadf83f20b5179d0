import { compileFunction, compileMacro } from './calls.js';
import { isNumeric, isScalar, typeName } from './checks.js';
import { fault } from './fault.js';
import { boolConstant, numberConstant, stringConstant } from './leaves.js';
import { MAX_LIST_LENGTH, tooLarge } from './limits.js';
import { compileOperator, operatorOf } from './operators.js';
import { compileField, compileName, type Scope } from './scope.js';
import type { Expr } from './syntax.js';
import type { ListNode, Node, ScalarNode } from './values.js';

/**
 * One expression as a column operation, its names, types and functions checked.
 * @throws EspalierError ESP_RULE_NAME, ESP_RULE_TYPE, ESP_RULE_UNSUPPORTED with the position
 */
export function compileExpression(expr: Expr, scope: Scope): Node {
  const { syntax } = scope;
  const start = syntax.startOf(expr);
  const { case: kind, value } = expr.exprKind;
  switch (kind) {
    case 'constExpr':
      return literal(value.constantKind, start);
    case 'identExpr':
      return compileName(value.name, start, scope);
    case 'selectExpr':
      return compileField(expr, scope);
    case 'listExpr':
      return list(value.elements, start, scope);
    case 'comprehensionExpr':
      return compileMacro(expr, start, scope);
    case 'callExpr': {
      const position = syntax.positionOf(expr);
      if (value.function === '_[_]') throw unsupported(position, 'indexing with [ ]');
      if (value.function === 'has') {
        throw fault('ESP_RULE_TYPE', start, 'a field in has(), as in has(item.x)', 'something else');
      }
      const sign = operatorOf(value.function);
      const target = value.target && scope.compile(value.target, scope);
      const args = value.args.map((arg) => scope.compile(arg, scope));
      return sign === undefined
        ? compileFunction(value.function, target, args, start)
        : compileOperator(sign, args, start, position);
    }
    case 'structExpr':
      throw unsupported(start, 'a map or a message');
    default:
      throw unsupported(start, 'this expression');
  }
}

type Constant = Extract<Expr['exprKind'], { case: 'constExpr' }>['value']['constantKind'];

function literal(constant: Constant, start: number): ScalarNode {
  switch (constant.case) {
    case 'boolValue':
      return boolConstant(start, constant.value);
    case 'stringValue':
      return stringConstant(start, constant.value);
    case 'doubleValue':
      return numberConstant(start, 'double', constant.value);
    case 'int64Value':
      if (BigInt.asIntN(64, constant.value) === constant.value) {
        return numberConstant(start, 'int', constant.value);
      }
      throw fault('ESP_RULE_SYNTAX', start, 'an int of at most 64 bits', String(constant.value));
    case 'uint64Value':
      throw unsupported(start, `an unsigned integer (write ${constant.value} without the u)`);
    case 'nullValue':
      throw unsupported(start, 'null (a missing value is asked for with has(item.x))');
    default:
      throw unsupported(start, 'a literal of bytes');
  }
}

/** A list of constants of one type; ints and doubles may mix. */
function list(expressions: Expr[], start: number, scope: Scope): ListNode {
  if (expressions.length > MAX_LIST_LENGTH) {
    throw tooLarge(start, `a list of at most ${MAX_LIST_LENGTH} values`, `${expressions.length}`);
  }
  const elements: ScalarNode[] = [];
  for (const expression of expressions) {
    const element = scope.compile(expression, scope);
    if (!isScalar(element)) throw unsupported(element.start, 'a list in a list');
    if (!element.constant) throw unsupported(element.start, 'a list with a value that differs by item');
    const [first = element] = elements;
    if (element.type !== first.type && !(isNumeric(element) && isNumeric(first))) {
      throw fault('ESP_RULE_TYPE', element.start, `${first.type}, as the list begins`, typeName(element));
    }
    elements.push(element);
  }
  return { type: 'list', start, elements };
}

function unsupported(position: number, found: string) {
  return fault('ESP_RULE_UNSUPPORTED', position, 'what rules support (docs/rules.md)', found);
}
