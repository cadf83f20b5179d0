import fc from 'fast-check';
import { expect, it } from 'vitest';
import { isBitSet } from '../../../src/kernels/index.js';
import { valueAt } from '../../../src/static-trie/index.js';
import {
  compileRule,
  evaluateRule,
  explainRule,
  type Verdict,
} from '../../../src/static-trie/rules/index.js';
import { Random } from '../../helpers/random.js';
import { verdicts } from '../../helpers/rules/oracle.js';
import { NOW_MS, RuleWriter, randomCase } from '../../helpers/rules/random-rule.js';
import { seeded } from '../../helpers/seed.js';
import { usedParams } from '../../helpers/used-params.js';

type Join = '&&' | '||';

/** As CEL joins verdicts: one that decides wins, then an error. */
function joined(join: Join, parts: Verdict[]): Verdict {
  const [decides, otherwise]: Verdict[] = join === '&&' ? ['false', 'true'] : ['true', 'false'];
  return parts.includes(decides) ? decides : parts.includes('error') ? 'error' : otherwise;
}

it('says of an item and of each part what the CEL library says', () => {
  const counts: Record<Verdict, number> = { true: 0, false: 0, error: 0 };
  fc.assert(
    fc.property(fc.nat(), (caseSeed) => {
      const random = new Random(caseSeed);
      const { schema, table, params: allParams } = randomCase(random);
      if (table.itemCount === 0) return;
      const writer = new RuleWriter(schema, random);
      const operands = Array.from({ length: 1 + random.below(4) }, () => writer.bool(random.below(4)));
      const join = random.pick<Join>(['&&', '||']);
      const isBracketed = random.chance(0.3);
      const text = operands.join(random.pick([` ${join} `, `${join}`, ` // a && b || c ? "\n ${join}\n`]));
      const rule = isBracketed ? ` ( ${text} )\n` : text;
      const params = usedParams(rule, allParams);
      const item = random.below(table.itemCount);
      const { verdict, parts } = explainRule(rule, schema, params, table, item, NOW_MS);

      const [expected] = verdicts(rule, schema, table, params, NOW_MS, [item]);
      expect(verdict, rule).toBe(String(expected));
      const bits = evaluateRule(compileRule(rule, schema, params), table, NOW_MS);
      expect(verdict === 'true', rule).toBe(isBitSet(bits, item));
      counts[verdict]++;

      for (const part of parts) {
        expect(rule).toContain(part.text);
        const source = `${part.text}\n`;
        const [ofPart] = verdicts(source, schema, table, params, NOW_MS, [item]);
        expect(part.verdict, part.text).toBe(String(ofPart));
        const { attributes } = compileRule(source, schema, usedParams(source, params));
        const lacks = (name: string) => valueAt(table.columns.get(name)!, item) === undefined;
        expect(part.missing, part.text).toEqual(attributes.filter(lacks));
      }
      if (operands.length === 1) return;
      expect(parts.map(({ text }) => text.replace(/\s*\/\/.*$/, ''))).toEqual(operands);
      expect(
        joined(
          join,
          parts.map((part) => part.verdict),
        ),
        rule,
      ).toBe(verdict);
    }),
    seeded('explained rules against the CEL library', 1000),
  );
  expect(Math.min(...Object.values(counts))).toBeGreaterThan(50);
});
