import { both, either, opposite, repeatable } from './scan-tree.js';
import { type BoolNode, boolNode, type Context, truthOf } from './values.js';

/** `&&`: a false side makes it false even where the other side is an error. */
export function and(start: number, left: BoolNode, right: BoolNode): BoolNode {
  return boolNode(start, left.constant && right.constant, (context) => {
    const a = truthOf(left, context);
    const b = truthOf(right, context);
    return { whenTrue: both(a.whenTrue, b.whenTrue), whenFalse: either(a.whenFalse, b.whenFalse) };
  });
}

/** `||`: a true side makes it true even where the other side is an error. */
export function or(start: number, left: BoolNode, right: BoolNode): BoolNode {
  return boolNode(start, left.constant && right.constant, (context) => {
    const a = truthOf(left, context);
    const b = truthOf(right, context);
    return { whenTrue: either(a.whenTrue, b.whenTrue), whenFalse: both(a.whenFalse, b.whenFalse) };
  });
}

/** `!`: an error stays one. */
export function not(start: number, operand: BoolNode): BoolNode {
  return boolNode(start, operand.constant, (context) => opposite(truthOf(operand, context)));
}

/** `==` of two booleans. */
export function equalBools(start: number, left: BoolNode, right: BoolNode): BoolNode {
  return boolNode(start, left.constant && right.constant, (context) => {
    const a = repeatableTruth(left, context);
    const b = repeatableTruth(right, context);
    return {
      whenTrue: either(both(a.whenTrue, b.whenTrue), both(a.whenFalse, b.whenFalse)),
      whenFalse: either(both(a.whenTrue, b.whenFalse), both(a.whenFalse, b.whenTrue)),
    };
  });
}

/** `condition ? yes : no` of booleans; an error of the condition or the chosen branch stays. */
export function chooseBool(start: number, condition: BoolNode, yes: BoolNode, no: BoolNode): BoolNode {
  const constant = condition.constant && yes.constant && no.constant;
  return boolNode(start, constant, (context) => {
    const test = repeatableTruth(condition, context);
    const a = truthOf(yes, context);
    const b = truthOf(no, context);
    return {
      whenTrue: either(both(test.whenTrue, a.whenTrue), both(test.whenFalse, b.whenTrue)),
      whenFalse: either(both(test.whenTrue, a.whenFalse), both(test.whenFalse, b.whenFalse)),
    };
  });
}

function repeatableTruth(node: BoolNode, context: Context) {
  return repeatable(truthOf(node, context), context.itemCount, context.scanWith);
}
