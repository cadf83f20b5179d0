import { describe, expect, it } from 'vitest';
import { checkUpdate } from '../../src/static-trie/index.js';
import { everyType } from '../helpers/every-type.js';

const attributes = Object.keys(everyType).join(', ');

describe('an update', () => {
  it('has values as uploads have them, and null for those that go', () => {
    const json = { id: 'a', gift: false, stock: 3, price: 2.5, title: 'x', since: '2011-12-09', tags: ['p'] };
    const { id, ...values } = json;
    expect(checkUpdate(json, everyType)).toEqual({
      id,
      attributes: { ...values, since: Date.UTC(2011, 11, 9) },
    });
    expect(checkUpdate({ id: 'a', price: null, title: '' }, everyType)).toEqual({
      id: 'a',
      attributes: { price: null, title: '' },
    });
  });

  it.each([
    [{ price: 1 }, 'id', 'a string of 1 to 256 characters', 'nothing'],
    [{ id: '', price: 1 }, 'id', 'a string of 1 to 256 characters', '""'],
    [{ id: '\ud800', price: 1 }, 'id', 'a string of 1 to 256 characters', expect.anything()],
    [{ id: 'a', colour: 'red' }, 'colour', `one of the attributes ${attributes}`, 'colour'],
    [{ id: 'a', sid: [1, 2] }, 'sid', `one of the attributes ${attributes}`, 'sid'],
    [{ id: 'a', toString: 'x' }, 'toString', `one of the attributes ${attributes}`, 'toString'],
    [{ id: 'a', stock: 1.5 }, 'stock', 'an integer within ±(2^53 − 1) (int64)', '1.5'],
    [{ id: 'a', since: 1323435000 }, 'since', expect.stringContaining('ISO 8601'), '1323435000'],
    [{ id: 'a' }, undefined, `an id and one or more of the attributes ${attributes}`, 'an id alone'],
  ])('is refused: %j', (json, field, expected, found) => {
    expect(checkUpdate(json, everyType)).toEqual([{ ...(field && { field }), expected, found }]);
  });

  it.each([[null], ['a'], [[{ id: 'a', price: 1 }]]])('that is no object is refused: %j', (json) => {
    expect(checkUpdate(json, everyType)).toEqual([{ expected: 'one JSON object', found: expect.anything() }]);
  });

  it('tells all faults at once', () => {
    const faults = checkUpdate({ id: 7, price: '1', colour: 1 }, everyType);
    expect(faults).toMatchObject([{ field: 'id' }, { field: 'price' }, { field: 'colour' }]);
  });
});
