import { describe, expect, it } from 'vitest';
import { checkUpdate, type Faults } from '../../src/static-trie/index.js';
import { everyType } from '../helpers/every-type.js';

const attributes = Object.keys(everyType).join(', ');

const faultsOf = (json: unknown) => (checkUpdate(json, everyType) as Faults).told;

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
    expect(faultsOf(json)).toEqual([{ ...(field && { field }), expected, found }]);
  });

  it.each([[null], ['a'], [[{ id: 'a', price: 1 }]]])('that is no object is refused: %j', (json) => {
    expect(faultsOf(json)).toEqual([{ expected: 'one JSON object', found: expect.anything() }]);
  });

  it('tells the first ten faults and counts the others', () => {
    const unknown = Object.fromEntries(Array.from({ length: 25 }, (_, index) => [`colour${index}`, 1]));
    const faults = checkUpdate({ id: 'a', price: '1', ...unknown }, everyType) as Faults;
    expect(faults.told.map(({ field }) => field)).toEqual([
      'price',
      ...Array.from({ length: 9 }, (_, index) => `colour${index}`),
    ]);
    expect(faults.count).toBe(26);
  });

  it('tells all faults at once', () => {
    expect(faultsOf({ id: 7, price: '1', colour: 1 })).toMatchObject([
      { field: 'id' },
      { field: 'price' },
      { field: 'colour' },
    ]);
  });
});
