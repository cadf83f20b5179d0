import { AND, allBits, OR, type Scan, type ScanLeaf, wordsFor } from '../../kernels/index.js';

/** A boolean expression of tests over columns, from which what is the same for all items has been folded away. */
export type ScanTree = 'all' | 'none' | ScanLeaf | Branch;
interface Branch {
  kind: 'branch';
  operator: typeof AND | typeof OR;
  left: Exclude<ScanTree, string>;
  right: Exclude<ScanTree, string>;
  leafCount: number;
  /** Bitmaps that it needs at a time, the side that needs more coming first. */
  depth: number;
}

/**
 * A rule's part as CEL's three values have it: the items for which it is true, and those for which it is
 * false. Items in neither are errors; no item is in both.
 */
export interface Truth {
  whenTrue: ScanTree;
  whenFalse: ScanTree;
}

/** An error for every item. */
export const failure: Truth = { whenTrue: 'none', whenFalse: 'none' };

export function both(left: ScanTree, right: ScanTree): ScanTree {
  if (left === 'none' || right === 'none') return 'none';
  if (left === 'all') return right;
  return right === 'all' ? left : branch(AND, left, right);
}

export function either(left: ScanTree, right: ScanTree): ScanTree {
  if (left === 'all' || right === 'all') return 'all';
  if (left === 'none') return right;
  return right === 'none' ? left : branch(OR, left, right);
}

/** The items that have a value; `present` null: all. */
export function presence(present: Uint32Array | null): ScanTree {
  return present === null ? 'all' : bitsLeaf(present, null);
}

/** True for every item that has a value. */
export function always(present: Uint32Array | null): Truth {
  return { whenTrue: presence(present), whenFalse: 'none' };
}

/** False for every item that has a value. */
export function never(present: Uint32Array | null): Truth {
  return { whenTrue: 'none', whenFalse: presence(present) };
}

export function opposite({ whenTrue, whenFalse }: Truth): Truth {
  return { whenTrue: whenFalse, whenFalse: whenTrue };
}

export function truthOfLeaf(leaf: ScanLeaf): Truth {
  return { whenTrue: leaf, whenFalse: { ...leaf, negate: !leaf.negate } };
}

export function truthOfBits(bits: Uint32Array, present: Uint32Array | null): Truth {
  return truthOfLeaf(bitsLeaf(bits, present));
}

function bitsLeaf(bits: Uint32Array, present: Uint32Array | null): ScanLeaf {
  return { kind: 'bits', bits, negate: false, present };
}

/** The items of a tree: wordsFor(itemCount) words, owned by the caller. */
export function runTree(tree: ScanTree, itemCount: number, scanWith: Scan): Uint32Array {
  if (tree === 'all') return allBits(itemCount);
  if (tree === 'none') return new Uint32Array(wordsFor(itemCount));
  const numbers = new Map<ScanLeaf, number>();
  const postfix: number[] = [];
  write(tree, numbers, postfix);
  return scanWith({ itemCount, leaves: [...numbers.keys()], postfix: Int32Array.from(postfix) });
}

/** More than that and a truth that is needed several times is better scanned once. */
const MAX_REPEATED_LEAVES = 16;

/**
 * A truth for use in several places: a large one as the bitmaps that it comes to. `==` and `?:` repeat their
 * operands, and would double the program with each level of nesting.
 */
export function repeatable(truth: Truth, itemCount: number, scanWith: Scan): Truth {
  const small = (tree: ScanTree): ScanTree =>
    typeof tree === 'string' || leafCountOf(tree) <= MAX_REPEATED_LEAVES
      ? tree
      : bitsLeaf(runTree(tree, itemCount, scanWith), null);
  return { whenTrue: small(truth.whenTrue), whenFalse: small(truth.whenFalse) };
}

function branch(operator: Branch['operator'], left: Branch['left'], right: Branch['right']): Branch {
  const depths = [depthOf(left), depthOf(right)];
  return {
    kind: 'branch',
    operator,
    left,
    right,
    leafCount: leafCountOf(left) + leafCountOf(right),
    depth: depths[0] === depths[1] ? depths[0] + 1 : Math.max(...depths),
  };
}

function leafCountOf(tree: Branch['left']): number {
  return tree.kind === 'branch' ? tree.leafCount : 1;
}

function depthOf(tree: Branch['left']): number {
  return tree.kind === 'branch' ? tree.depth : 1;
}

function write(tree: Branch['left'], numbers: Map<ScanLeaf, number>, postfix: number[]): void {
  if (tree.kind !== 'branch') {
    if (!numbers.has(tree)) numbers.set(tree, numbers.size);
    postfix.push(numbers.get(tree)!);
    return;
  }
  const { left, right, operator } = tree;
  const isLeftFirst = depthOf(left) >= depthOf(right);
  write(isLeftFirst ? left : right, numbers, postfix);
  write(isLeftFirst ? right : left, numbers, postfix);
  postfix.push(operator);
}
