import fc from 'fast-check';
import { expect, it } from 'vitest';
import { EspalierError } from '../../../src/errors.js';
import { createJsKernel, isBitSet, wordsFor } from '../../../src/kernels/index.js';
import { compileRule, evaluateRule } from '../../../src/static-trie/rules/index.js';
import { nativeKernels } from '../../helpers/native.js';
import { Random } from '../../helpers/random.js';
import { verdicts } from '../../helpers/rules/oracle.js';
import { NOW_MS, randomCase } from '../../helpers/rules/random-rule.js';
import { seeded } from '../../helpers/seed.js';
import { usedParams } from '../../helpers/used-params.js';

/** js, and every instruction set that runs here: the cases take turns. */
const kernels = [createJsKernel(), ...nativeKernels];

it('allows exactly the items for which the CEL library says true', () => {
  const counts = { true: 0, false: 0, error: 0 };
  fc.assert(
    fc.property(fc.nat(), (caseSeed) => {
      const { schema, table, params, rule } = randomCase(new Random(caseSeed));
      const expected = verdicts(rule, schema, table, params, NOW_MS);
      // The rule's opposite, too: it tells false from an error.
      for (const [source, wanted] of [
        [rule, true],
        [`!(${rule})`, false],
      ] as const) {
        const compiled = compileRule(source, schema, usedParams(source, params));
        const { scan } = kernels[caseSeed % kernels.length];
        const bits = evaluateRule(compiled, table, NOW_MS, scan);
        const allowed = expected.map((_, index) => isBitSet(bits, index));
        expect(allowed, source).toEqual(expected.map((verdict) => verdict === wanted));
        const padding = Array.from({ length: wordsFor(table.itemCount) * 32 - table.itemCount });
        expect(padding.some((_, index) => isBitSet(bits, table.itemCount + index))).toBe(false);
      }
      for (const verdict of expected) counts[`${verdict}`]++;
    }),
    seeded('rules against the CEL library', 800),
  );
  // The cases are worth something only when every verdict comes up often.
  const total = counts.true + counts.false + counts.error;
  for (const count of Object.values(counts)) expect(count / total).toBeGreaterThan(0.1);
});

it('answers any text with a rule or a typed error at a position inside it', () => {
  const snippets =
    '( ) [ ] { } ? : . , ! - == && in has( item params now size( null 1u b"x" \\ " \' // \n 💥 \ud83d r\'\' .map(c, .exists(x, 1e999 \0'.split(
      ' ',
    );
  const outcomes = { compiled: 0, refused: 0 };
  fc.assert(
    fc.property(fc.nat(), (caseSeed) => {
      const random = new Random(caseSeed);
      const { schema, table, params, rule } = randomCase(random);
      let source = rule;
      for (let edit = random.below(4); edit >= 0; edit--) {
        const at = random.below(source.length + 1);
        const removed = random.chance(0.5) ? random.below(6) : 0;
        const added = random.chance(0.5) ? ` ${random.pick(snippets)} ` : '';
        source = source.slice(0, at) + added + source.slice(at + removed);
      }
      try {
        evaluateRule(compileRule(source, schema, usedParams(source, params)), table, NOW_MS);
        outcomes.compiled++;
      } catch (thrown) {
        expect(thrown, source).toBeInstanceOf(EspalierError);
        const { code, details } = thrown as EspalierError;
        expect(code, source).toMatch(/^ESP_RULE_/);
        expect(details?.[0].position, source).toBeGreaterThanOrEqual(0);
        expect(details?.[0].position, source).toBeLessThanOrEqual(source.length);
        outcomes.refused++;
      }
    }),
    seeded('mangled rules', 800),
  );
  // About one text in eight still is a rule.
  expect(Math.min(outcomes.compiled, outcomes.refused)).toBeGreaterThan(50);
});
