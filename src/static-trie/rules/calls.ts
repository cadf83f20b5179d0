import { isNumeric, isTime, typeName, wantBool, wantString } from './checks.js';
import { type StringTest, testStrings } from './compare.js';
import { fault } from './fault.js';
import { convert, parseDuration, parseTimestamp, stringSize, timeMethods, timePart } from './functions.js';
import { numberConstant } from './leaves.js';
import { listSize, type Macro, macro, macros } from './lists.js';
import type { Scope } from './scope.js';
import type { Expr } from './syntax.js';
import type { BoolNode, Node, NumberNode, ScalarNode } from './values.js';

const stringTests: readonly string[] = ['contains', 'startsWith', 'endsWith'] satisfies StringTest[];
const functions = ['size', 'timestamp', 'duration', 'int', 'double'];
const methods = ['size', ...stringTests, ...timeMethods];

/** A function `name(args)`, or a method `target.name(args)`. */
export function compileFunction(
  name: string,
  target: Node | undefined,
  args: Node[],
  start: number,
): ScalarNode {
  const known = target ? methods : functions;
  if (!known.includes(name)) {
    const kind = target ? 'methods' : 'functions';
    const found = target ? `.${name}()` : `${name}()`;
    throw fault('ESP_RULE_UNSUPPORTED', start, `one of the ${kind} ${known.join(', ')}`, found);
  }
  const arity = target === undefined || stringTests.includes(name) ? 1 : 0;
  if (args.length !== arity) {
    // CEL's time methods take a time zone; ours answer in UTC only.
    const code = timeMethods.includes(name) ? 'ESP_RULE_UNSUPPORTED' : 'ESP_RULE_TYPE';
    throw fault(code, start, `${arity} argument${arity === 1 ? '' : 's'} of ${name}`, `${args.length}`);
  }
  const operand = target ?? args[0];
  if (name === 'size') return size(start, operand);
  if (stringTests.includes(name)) {
    const text = wantString(operand, `what .${name}() is called on`);
    const part = wantString(args[0], `the argument of .${name}()`);
    return testStrings(start, name as StringTest, text, part);
  }
  if (target) {
    const part = isTime(target) ? timePart(start, name, target) : undefined;
    if (part) return part;
    const code = target.type === 'duration' ? 'ESP_RULE_UNSUPPORTED' : 'ESP_RULE_TYPE';
    throw fault(code, target.start, `what .${name}() is called on to be timestamp`, typeName(target));
  }
  return name === 'timestamp' || name === 'duration'
    ? time(start, name, operand)
    : number(start, name, operand);
}

function size(start: number, operand: Node): NumberNode {
  if (operand.type === 'string') return stringSize(start, operand);
  if (operand.type === 'list' || operand.type === 'string[]') return listSize(start, operand);
  throw fault(
    'ESP_RULE_TYPE',
    operand.start,
    'the operand of size to be string or a list',
    typeName(operand),
  );
}

function time(start: number, name: 'timestamp' | 'duration', operand: Node): NumberNode {
  if (operand.type === name) return operand;
  if (operand.type !== 'string' || operand.text === undefined) {
    // CEL converts ints and computed strings, too.
    const code =
      operand.type === 'string' || operand.type === 'int' ? 'ESP_RULE_UNSUPPORTED' : 'ESP_RULE_TYPE';
    throw fault(code, operand.start, `a string literal or parameter in ${name}()`, typeName(operand));
  }
  const ms = name === 'timestamp' ? parseTimestamp(operand.text) : parseDuration(operand.text);
  const found = JSON.stringify(operand.text);
  if (ms === 'finer') throw fault('ESP_RULE_UNSUPPORTED', operand.start, 'whole milliseconds', found);
  if (ms !== undefined) return numberConstant(start, name, ms);
  const example =
    name === 'timestamp'
      ? 'a time like "2024-05-31T18:00:00Z", with its zone'
      : 'a duration like "168h" or "1h30m" (units h, m, s, ms), within 292 years';
  throw fault('ESP_RULE_TYPE', operand.start, example, found);
}

function number(start: number, name: string, operand: Node): NumberNode {
  if (isNumeric(operand)) return convert(start, name as 'int' | 'double', operand);
  if (name === 'int' && isTime(operand)) return convert(start, 'int', operand);
  const code = operand.type === 'string' ? 'ESP_RULE_UNSUPPORTED' : 'ESP_RULE_TYPE';
  throw fault(code, operand.start, `a number in ${name}()`, typeName(operand));
}

/** `attribute.exists(x, test)` and its like, from the parser's expansion. */
export function compileMacro(expr: Expr, start: number, scope: Scope): BoolNode {
  const call = scope.syntax.macroOf(expr);
  const position = scope.syntax.positionOf(expr);
  // cel-go's spelling.
  const name = call?.name === 'existsOne' ? 'exists_one' : (call?.name ?? 'a comprehension');
  if (!call || !macros.includes(name as Macro)) {
    throw fault('ESP_RULE_UNSUPPORTED', position, `one of the macros ${macros.join(', ')}`, `.${name}()`);
  }
  const range = scope.compile(call.range, scope);
  if (range.type !== 'string[]') {
    const code = range.type === 'list' ? 'ESP_RULE_UNSUPPORTED' : 'ESP_RULE_TYPE';
    throw fault(code, range.start, `.${name}() of an attribute of type string[]`, typeName(range));
  }
  if (['item', 'params', 'now'].includes(call.variable)) {
    throw fault(
      'ESP_RULE_NAME',
      position,
      `another name than ${call.variable} for the variable`,
      call.variable,
    );
  }
  const test = scope.compile(call.body, { ...scope, variable: call.variable });
  return macro(start, name as Macro, range.attribute, wantBool(test, `the test of .${name}()`));
}
