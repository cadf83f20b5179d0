import { createRequire } from 'node:module';
import type * as Cel from '@bufbuild/cel';
import { fault } from './fault.js';
import { checkSize, MAX_RULE_NESTING, tooDeep } from './limits.js';

export type Parsed = ReturnType<typeof Cel.parse>;
export type Expr = Parsed['expr'];

/** A parsed rule, with the places of its parts. */
export interface Syntax {
  expr: Expr;
  source: string;
  /** Where the parser puts it: an operator at its sign, a call at its bracket or dot. */
  positionOf(expr: Expr): number;
  /** Its first character. */
  startOf(expr: Expr): number;
  /** `exists`, `all`… with what it was called on, where `expr` is a macro's expansion. */
  macroOf(expr: Expr): { name: string; variable: string; body: Expr; range: Expr } | undefined;
}

/**
 * Parses within the limits of length and depth.
 * @throws EspalierError ESP_RULE_SYNTAX, ESP_RULE_TOO_LARGE
 */
export function parseRule(source: string): Syntax {
  checkSize(source);
  const { expr, sourceInfo } = parseOrFail(source);
  // The parser gives the space before an operator as its place.
  const positionOf = ({ id }: Expr) => {
    const position = sourceInfo?.positions[id.toString()] ?? 0;
    return position + /^\s*/.exec(source.slice(position))![0].length;
  };
  checkDepth(expr, 1, positionOf);
  return {
    expr,
    source,
    positionOf,
    startOf: (part) => startOf(part, positionOf),
    macroOf: (part) => {
      const call = sourceInfo?.macroCalls[part.id.toString()]?.exprKind;
      const fold = part.exprKind;
      if (call?.case !== 'callExpr' || fold.case !== 'comprehensionExpr') return undefined;
      const name = call.value.function;
      const step = fold.value.loopStep?.exprKind;
      // exists and all: accumulator OP body; exists_one: body ? accumulator + 1 : accumulator.
      if (step?.case !== 'callExpr' || fold.value.iterRange === undefined) return undefined;
      const body = step.value.args[name === 'exists' || name === 'all' ? 1 : 0];
      return { name, variable: fold.value.iterVar, body, range: fold.value.iterRange };
    },
  };
}

/** Loads the parser, which the first rule would wait for some 100 ms: for threads that are to answer without delay. */
export function loadRuleParser(): void {
  cel().parse('true');
}

/** Loaded with the first rule: it is many files, and most threads and commands see no rule. */
function cel(): typeof Cel {
  return createRequire(import.meta.url)('@bufbuild/cel') as typeof Cel;
}

function parseOrFail(source: string): Parsed {
  try {
    return cel().parse(source);
  } catch (thrown) {
    if (thrown instanceof RangeError) throw tooDeep(0, thrown);
    const { location, rawMessage, expected, found } = thrown as {
      location?: { start: { offset: number } };
      rawMessage?: string;
      expected?: { value?: string; type: string }[];
      found?: string | null;
    };
    const position = Math.min(location?.start.offset ?? 0, source.length);
    const rest = source.slice(position).trimStart();
    const what = rest === '' ? 'the end of the rule' : JSON.stringify(Array.from(rest).slice(0, 20).join(''));
    // The parser's list of a whole expression's beginnings says less than the word.
    const kinds = new Set(expected?.map(({ type, value }) => value ?? type));
    const wanted =
      expected === undefined || kinds.has('identifier')
        ? found === undefined && rawMessage
          ? `an expression (${rawMessage})`
          : 'an expression'
        : kinds.has('end of input')
          ? 'an operator with both its operands, or the end of the rule'
          : [...kinds].join(', ');
    throw fault('ESP_RULE_SYNTAX', position, wanted, what, { cause: thrown });
  }
}

/** The direct parts of an expression. */
export function partsOf(expr: Expr): Expr[] {
  const { case: kind, value } = expr.exprKind;
  switch (kind) {
    case 'selectExpr':
      return value.operand ? [value.operand] : [];
    case 'callExpr':
      return value.target ? [value.target, ...value.args] : value.args;
    case 'listExpr':
      return value.elements;
    case 'structExpr':
      return value.entries.flatMap(({ keyKind, value: entry }) => [
        ...(keyKind.case === 'mapKey' ? [keyKind.value] : []),
        ...(entry ? [entry] : []),
      ]);
    case 'comprehensionExpr':
      return [value.iterRange, value.loopStep].filter((part) => part !== undefined);
    default:
      return [];
  }
}

function checkDepth(expr: Expr, depth: number, positionOf: (expr: Expr) => number): void {
  if (depth > MAX_RULE_NESTING) throw tooDeep(positionOf(expr));
  for (const part of partsOf(expr)) checkDepth(part, depth + 1, positionOf);
}

function startOf(expr: Expr, positionOf: (expr: Expr) => number): number {
  // `!x` and `-x` start at their sign, everything else no later than its first part.
  return partsOf(expr).reduce((start, part) => Math.min(start, startOf(part, positionOf)), positionOf(expr));
}
