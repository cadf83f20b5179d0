import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findRepeatedName } from '../../src/static-trie/index.js';
import { seeded } from '../helpers/seed.js';

describe('names that come twice', () => {
  it.each([
    ['{"a":1,"a":2}', 'a'],
    ['{"a":{"b":1,"c":[{"d":1},{"d":2}],"b":3}}', 'b'],
    ['[{"a":1},{"a":1,"x":"a","\\u0061":2}]', 'a'],
    ['{"":1,"":2}', ''],
    ['{"a":"{\\"a\\":1,","b":["a","a"],"c":{"a":1}}', undefined],
    ['"a"', undefined],
    ['[[],{},[1,2]]', undefined],
  ])('are found in %s', (json, name) => {
    JSON.parse(json);
    expect(findRepeatedName(json)).toBe(name);
  });

  it('are not found in what JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 4 }), (json) => {
        expect(findRepeatedName(json)).toBeUndefined();
        expect(findRepeatedName(JSON.stringify(JSON.parse(json), null, 2))).toBeUndefined();
      }),
      seeded('JSON without repeated names', 2_000),
    );
  });
});
