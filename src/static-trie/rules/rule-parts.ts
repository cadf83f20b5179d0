import { withoutTexts } from './limits.js';

/**
 * A rule's text as the operands of its outermost `&&`, or of its outermost `||`; where it has neither, or has `?:`
 * around them, the text as a whole. Brackets around all of it, and the space around each operand, are left out.
 * @param source well-formed CEL
 */
export function rulePartTexts(source: string): string[] {
  const { operators, inside } = outermost(withoutTexts(source));
  if (inside !== undefined) return rulePartTexts(source.slice(inside.start, inside.end));
  // ?: binds less than ||, and that less than &&.
  const sign = ['?', '||', '&&'].find((candidate) =>
    operators.some((operator) => operator.sign === candidate),
  );
  if (sign === undefined || sign === '?') return [source.trim()];
  const parts: string[] = [];
  let start = 0;
  for (const { sign: found, position } of operators) {
    if (found !== sign) continue;
    parts.push(source.slice(start, position).trim());
    start = position + sign.length;
  }
  return [...parts, source.slice(start).trim()];
}

interface Outermost {
  /** Those outside of any brackets. */
  operators: { sign: string; position: number }[];
  /** Where one pair of brackets is around everything: what it holds. */
  inside: { start: number; end: number } | undefined;
}

function outermost(code: string): Outermost {
  const operators: Outermost['operators'] = [];
  const begin = code.search(/\S/);
  let depth = 0;
  let firstClosed = -1;
  for (const { 0: sign, index: position } of code.matchAll(/[([{]|[)\]}]|&&|\|\||\?/g)) {
    if ('([{'.includes(sign)) depth++;
    else if (')]}'.includes(sign)) {
      depth--;
      if (depth === 0 && firstClosed < 0) firstClosed = position;
    } else if (depth === 0) operators.push({ sign, position });
  }
  const isInBrackets = code[begin] === '(' && firstClosed === code.trimEnd().length - 1;
  return { operators, inside: isInBrackets ? { start: begin + 1, end: firstClosed } : undefined };
}
