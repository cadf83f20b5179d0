import type { AttributeSchema } from '../../src/static-trie/index.js';

/** An attribute of every type. */
export const everyType: AttributeSchema = {
  gift: { type: 'bool' },
  stock: { type: 'int64' },
  price: { type: 'double' },
  title: { type: 'string' },
  since: { type: 'timestamp' },
  tags: { type: 'string[]' },
};
