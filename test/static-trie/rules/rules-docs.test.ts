import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { buildColumn } from '../../../src/static-trie/index.js';
import { compileRule, explainRule } from '../../../src/static-trie/rules/index.js';

const page = readFileSync(new URL('../../../docs/rules.md', import.meta.url), 'utf8');

it('documents verdicts as they are', () => {
  const [, rule, verdict] = /Of the rule `(.+?)`.*?```json\n(.*?)```/s.exec(page)!;
  const schema = { price: { type: 'double' }, brand: { type: 'string' } } as const;
  const columns = new Map([
    ['price', buildColumn('double', [2])],
    ['brand', buildColumn('string', [undefined])],
  ]);
  expect(explainRule(rule, schema, {}, { itemCount: 1, columns }, 0, 0)).toEqual(JSON.parse(verdict));
});

it('documents errors as they are', () => {
  const rows = Array.from(page.matchAll(/^\| `(ESP_\w+)` \| (.+?) \| `(.+)` \|$/gm));
  expect(rows.length).toBe(5);
  for (const [, code, example, message] of rows) {
    const rule = example.startsWith('`') ? example.slice(1, -1) : `${'('.repeat(65)}true`;
    const schema = { price: { type: 'double' }, brand: { type: 'string' } } as const;
    expect(() => compileRule(rule, schema, {})).toThrow(expect.objectContaining({ code, message }));
  }
});
