import { allBits, clearBit, isBitSet, setBit } from '../../kernels/index.js';
import type { StringListColumn } from '../columns.js';
import { codeTypeFor } from '../number-column.js';
import type { StringTable } from '../string-table.js';
import { columnOf, numberConstant, textsOf } from './leaves.js';
import { failure, type Truth, truthOfBits, truthOfLeaf } from './scan-tree.js';
import {
  type BoolNode,
  bitsOf,
  boolNode,
  type Context,
  constantBool,
  type ListNode,
  type NumberNode,
  newContext,
  noBits,
  numberNode,
  ownPresence,
  type ScalarNode,
  truthOf,
} from './values.js';

/** `size(list)`. */
export function listSize(start: number, list: ListNode): NumberNode {
  if (list.type === 'list') {
    const size = numberConstant(start, 'int', list.elements.length);
    return numberNode('int', start, true, (context) => {
      const { values } = size.evaluate(context);
      return {
        values,
        present: list.elements.some((element) => fails(element, context)) ? noBits(context) : null,
      };
    });
  }
  return numberNode('int', start, false, (context) => {
    const column = columnOf(context, list.attribute, 'string[]');
    const values = new Float64Array(context.itemCount);
    if (column === undefined) return { values, present: noBits(context) };
    const { offsets, present } = column;
    for (let index = 0; index < values.length; index++) values[index] = offsets[index + 1] - offsets[index];
    return { values, present };
  });
}

export const macros = ['exists', 'all', 'exists_one'] as const;
export type Macro = (typeof macros)[number];

/**
 * `attribute.exists(x, test)` and its like. The test reads `x` and constants only, so it is evaluated once for
 * each entry of the dictionary; then each item folds the answers for its own entries as CEL does: exists and
 * all absorb errors like `||` and `&&`, exists_one does not.
 */
export function macro(start: number, kind: Macro, name: string, test: BoolNode): BoolNode {
  return boolNode(start, false, (context) => {
    const column = columnOf(context, name, 'string[]');
    if (column === undefined) return failure;
    const entries = entriesOf(column.dictionary, context);
    const { whenTrue, whenFalse } = truthOf(test, entries);
    const isTrue = bitsOf(whenTrue, entries);
    const isFalse = bitsOf(whenFalse, entries);
    const some = (flags: Uint32Array) => anyFlag(column, flags);
    switch (kind) {
      case 'exists':
        return { whenTrue: some(isTrue).whenTrue, whenFalse: some(complement(isFalse, entries)).whenFalse };
      case 'all':
        return { whenTrue: some(complement(isTrue, entries)).whenFalse, whenFalse: some(isFalse).whenTrue };
      case 'exists_one':
        return existsOne(column, isTrue, isFalse, context);
    }
  });
}

/** Whether some of an item's entries has a flag. */
function anyFlag({ offsets, codes, present }: StringListColumn, flags: Uint32Array): Truth {
  return truthOfLeaf({ kind: 'anyFlag', offsets, codes, flags, negate: false, present });
}

function existsOne(
  column: StringListColumn,
  isTrue: Uint32Array,
  isFalse: Uint32Array,
  context: Context,
): Truth {
  const { offsets, codes } = column;
  const present = ownPresence(column, context);
  const bits = noBits(context);
  for (let index = 0; index < context.itemCount; index++) {
    let trues = 0;
    for (let at = offsets[index]; at < offsets[index + 1]; at++) {
      if (isBitSet(isTrue, codes[at])) trues++;
      else if (!isBitSet(isFalse, codes[at])) clearBit(present, index);
    }
    if (trues === 1) setBit(bits, index);
  }
  return truthOfBits(bits, present);
}

function complement(bits: Uint32Array, { itemCount }: Context): Uint32Array {
  return allBits(itemCount).map((word, index) => word & ~bits[index]);
}

/** The context of a macro's test: the dictionary's entries are its items. */
function entriesOf(dictionary: StringTable, { table, nowMs, scanWith }: Context): Context {
  const { length } = dictionary;
  const codes = new (codeTypeFor(length))(length);
  for (let code = 0; code < length; code++) codes[code] = code;
  const local = { codes, dictionary: textsOf(dictionary), sorted: dictionary, present: null };
  return newContext(length, table, nowMs, scanWith, local);
}

function fails(node: ScalarNode, context: Context): boolean {
  if (node.type === 'bool') return constantBool(node, context) === undefined;
  const { present } = node.evaluate(context.one ?? context);
  return present !== null && !isBitSet(present, 0);
}
