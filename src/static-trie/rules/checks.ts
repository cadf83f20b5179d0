import { fault } from './fault.js';
import type { BoolNode, Node, NumberNode, ScalarNode, StringNode } from './values.js';

/** How messages name a subexpression's type. */
export function typeName(node: Node): string {
  if (node.type !== 'list') return node.type;
  return node.elements.length === 0 ? 'an empty list' : `list of ${node.elements[0].type}`;
}

export function isNumeric(node: Node): node is NumberNode {
  return node.type === 'int' || node.type === 'double';
}

export function isTime(node: Node): node is NumberNode {
  return node.type === 'timestamp' || node.type === 'duration';
}

export function isScalar(node: Node): node is ScalarNode {
  return node.type !== 'list' && node.type !== 'string[]';
}

export function wantBool(node: Node, what: string): BoolNode {
  if (node.type === 'bool') return node;
  throw fault('ESP_RULE_TYPE', node.start, `${what} to be bool`, typeName(node));
}

export function wantString(node: Node, what: string): StringNode {
  if (node.type === 'string') return node;
  throw fault('ESP_RULE_TYPE', node.start, `${what} to be string`, typeName(node));
}

/** The fault of an operator between types that do not go together. */
export function mismatch(position: number, operator: string, left: Node, right: Node) {
  const hint =
    isNumeric(left) && isNumeric(right)
      ? ' (convert one with int() or double())'
      : left.type === 'string[]' || right.type === 'string[]'
        ? ' (a list is read with in, size, exists, all or exists_one)'
        : '';
  return fault(
    'ESP_RULE_TYPE',
    position,
    `operands that ${operator} can take together${hint}`,
    `${typeName(left)} ${operator} ${typeName(right)}`,
  );
}
