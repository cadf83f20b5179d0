import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { compileRule } from '../../../src/static-trie/rules/index.js';

it('documents errors as they are', () => {
  const page = readFileSync(new URL('../../../docs/rules.md', import.meta.url), 'utf8');
  const rows = Array.from(page.matchAll(/^\| `(ESP_\w+)` \| (.+?) \| `(.+)` \|$/gm));
  expect(rows.length).toBe(5);
  for (const [, code, example, message] of rows) {
    const rule = example.startsWith('`') ? example.slice(1, -1) : `${'('.repeat(65)}true`;
    const schema = { price: { type: 'double' }, brand: { type: 'string' } } as const;
    expect(() => compileRule(rule, schema, {})).toThrow(expect.objectContaining({ code, message }));
  }
});
