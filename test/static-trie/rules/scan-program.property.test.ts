import fc from 'fast-check';
import { expect, it } from 'vitest';
import { countBits, isBitSet, type ScanProgram, scan, wordsFor } from '../../../src/kernels/index.js';
import { compileRule, evaluateRule } from '../../../src/static-trie/rules/index.js';
import { Random } from '../../helpers/random.js';
import { narrowTable } from '../../helpers/rules/narrow-table.js';
import { verdicts } from '../../helpers/rules/oracle.js';
import { NOW_MS, RuleWriter } from '../../helpers/rules/random-rule.js';
import { seeded } from '../../helpers/seed.js';
import { usedParams } from '../../helpers/used-params.js';

/** Where blocks of items, words of bits and code types begin and end. */
const ITEM_COUNTS = [0, 1, 31, 32, 33, 63, 64, 65, 300, 3000, 16_383, 16_384, 16_385, 40_000];
const SAMPLED_ITEMS = 64;

it('scans narrowed columns to what the CEL library says', () => {
  /** How often each kind of leaf was scanned, by the type of its codes. */
  const leaves = new Map<string, number>();
  const counting = (program: ScanProgram) => {
    for (const leaf of program.leaves) {
      const kind = leaf.kind === 'bits' ? 'bits' : `${leaf.kind} of ${leaf.codes.constructor.name}`;
      leaves.set(kind, (leaves.get(kind) ?? 0) + 1);
    }
    return scan(program);
  };
  fc.assert(
    fc.property(fc.nat(), (caseSeed) => {
      const random = new Random(caseSeed);
      const itemCount = random.pick(random.chance(0.6) ? ITEM_COUNTS.slice(0, 9) : ITEM_COUNTS);
      const { schema, table, pools } = narrowTable(random, itemCount);
      const items = sample(random, itemCount);
      const params = {
        d: random.pick(pools.doubles),
        s: random.pick(pools.words),
        b: true,
        strings: [],
        numbers: [],
      };
      for (let round = 0; round < 6; round++) {
        const rule = randomRule(new RuleWriter(schema, random, pools, 24), random);
        const expected = verdicts(rule, schema, table, params, NOW_MS, items);
        for (const [source, wanted] of [
          [rule, true],
          [`!(${rule})`, false],
        ] as const) {
          const compiled = compileRule(source, schema, usedParams(source, params));
          const bits = evaluateRule(compiled, table, NOW_MS, counting);
          const allowed = items.map((item) => isBitSet(bits, item));
          expect(allowed, source).toEqual(expected.map((verdict) => verdict === wanted));
          expect(bits.length).toBe(wordsFor(itemCount));
          expect(countBits(bits, itemCount, bits.length * 32)).toBe(0);
        }
      }
    }),
    seeded('scan programs over narrowed columns', 250),
  );
  console.log(Object.fromEntries([...leaves].sort()));
  for (const kind of ['range', 'flags']) {
    for (const type of ['Uint8Array', 'Uint16Array', 'Uint32Array']) {
      expect(leaves.get(`${kind} of ${type}`), `${kind} of ${type}`).toBeGreaterThan(0);
    }
  }
  expect(leaves.get('range of Float64Array')).toBeGreaterThan(0);
  // Larger dictionaries come by chance, or take too many items; test/kernels/scan.test.ts has them.
  expect(leaves.get('anyFlag of Uint8Array')).toBeGreaterThan(0);
});

function randomRule(writer: RuleWriter, random: Random): string {
  if (random.chance(0.4)) return writer.bool(1 + random.below(4));
  const [a, b, c] = [writer.simple(), writer.simple(), writer.simple()];
  return random.pick([
    a,
    `${a} && ${b}`,
    `${a} || !${b} && ${c}`,
    `${a} ? ${b} : ${c}`,
    `${a} == (${b} || ${c})`,
  ]);
}

/** All items, or some of many: the oracle takes its time. The last ones of blocks are always among them. */
function sample(random: Random, itemCount: number): number[] {
  if (itemCount <= SAMPLED_ITEMS) return Array.from({ length: itemCount }, (_, item) => item);
  const edges = [0, itemCount - 1, 16_383, 16_384, 32_767, 32_768].filter((item) => item < itemCount);
  return [...edges, ...Array.from({ length: SAMPLED_ITEMS }, () => random.below(itemCount))];
}
