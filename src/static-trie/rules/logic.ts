import { type BoolNode, type Bools, boolNode, type Context, without } from './values.js';

/** `&&`: a false side makes it false even where the other side is an error. */
export function and(start: number, left: BoolNode, right: BoolNode): BoolNode {
  return boolNode(start, left.constant && right.constant, (context) => {
    const a = left.evaluate(context);
    const b = right.evaluate(context);
    return {
      isTrue: a.isTrue.map((word, index) => word & b.isTrue[index]),
      // Some side is an error, and no side is false: each is true or an error.
      isError: a.isError.map(
        (word, index) =>
          (word | b.isError[index]) & (word | a.isTrue[index]) & (b.isError[index] | b.isTrue[index]),
      ),
    };
  });
}

/** `||`: a true side makes it true even where the other side is an error. */
export function or(start: number, left: BoolNode, right: BoolNode): BoolNode {
  return boolNode(start, left.constant && right.constant, (context) => {
    const a = left.evaluate(context);
    const b = right.evaluate(context);
    const isTrue = a.isTrue.map((word, index) => word | b.isTrue[index]);
    return { isTrue, isError: a.isError.map((word, index) => (word | b.isError[index]) & ~isTrue[index]) };
  });
}

/** `!`: an error stays one. */
export function not(start: number, operand: BoolNode): BoolNode {
  return boolNode(start, operand.constant, (context) => negate(operand.evaluate(context), context));
}

export function negate({ isTrue, isError }: Bools, { all }: Context): Bools {
  return { isTrue: all.map((word, index) => word & ~(isTrue[index] | isError[index])), isError };
}

/** `==` and `!=` of two booleans. */
export function equalBools(start: number, left: BoolNode, right: BoolNode): BoolNode {
  return boolNode(start, left.constant && right.constant, (context) => {
    const a = left.evaluate(context);
    const b = right.evaluate(context);
    const isError = a.isError.map((word, index) => word | b.isError[index]);
    const equal = context.all.map((word, index) => word & ~(a.isTrue[index] ^ b.isTrue[index]));
    return { isTrue: without(equal, isError), isError };
  });
}
