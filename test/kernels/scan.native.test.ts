import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  AND,
  createJsKernel,
  OR,
  type ScanLeaf,
  type ScanProgram,
  wordsFor,
} from '../../src/kernels/index.js';
import { nativeKernels, noNative } from '../helpers/native.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

const js = createJsKernel();

function randomBits(random: Random, count: number, probability: number): Uint32Array {
  const bits = new Uint32Array(wordsFor(count));
  for (let bit = 0; bit < count; bit++) if (random.chance(probability)) bits[bit >>> 5] |= 1 << (bit & 31);
  return bits;
}

const limits = [
  -1,
  0,
  0.5,
  3,
  7,
  200,
  255,
  60_000,
  65_535,
  1e9,
  2 ** 32 - 1,
  1e20,
  Number.NaN,
  Infinity,
  -Infinity,
];

function randomLeaf(random: Random, itemCount: number): ScanLeaf {
  const kind = random.pick(['range', 'flags', 'anyFlag', 'bits'] as const);
  const present = random.chance(0.5) ? randomBits(random, itemCount, 0.8) : null;
  const negate = random.chance(0.5);
  if (kind === 'bits') return { kind, bits: randomBits(random, itemCount, 0.4), negate, present };
  const offsets = new Uint32Array(itemCount + 1);
  for (let item = 0; item < itemCount; item++) offsets[item + 1] = offsets[item] + random.below(4);
  const codeCount = kind === 'anyFlag' ? offsets[itemCount] : itemCount;
  const bound = random.pick([2, 50, 256, 65_536, 2 ** 32]);
  const code = () => random.below(bound);
  const codes = new (random.pick([Uint8Array, Uint16Array, Uint32Array]))(codeCount).map(code);
  if (kind === 'range') {
    const low = random.pick(limits);
    const high = random.pick(limits);
    if (random.chance(0.7)) return { kind, codes, low, high, negate, present };
    const odd = [Number.NaN, Infinity, -Infinity, -0, 0.5];
    const values = new Float64Array(itemCount).map(() => (random.chance(0.2) ? random.pick(odd) : code()));
    return { kind, codes: values, low, high, negate, present };
  }
  const flags = randomBits(random, random.pick([0, 64, 256, 320, 65_536]), 0.3);
  return kind === 'flags'
    ? { kind, codes, flags, negate, present }
    : { kind, offsets, codes, flags, negate, present };
}

function randomProgram(random: Random): ScanProgram {
  const itemCount = random.pick([0, 1, 31, 63, 64, 65, 300, 4095, 4096, 4097, 20_000]);
  const leaves = Array.from({ length: 1 + random.below(5) }, () => randomLeaf(random, itemCount));
  const postfix = [random.below(leaves.length)];
  for (let step = random.below(8); step > 0; step--)
    postfix.push(random.below(leaves.length), random.pick([AND, OR]));
  return { itemCount, leaves, postfix: Int32Array.from(postfix) };
}

describe.skipIf(noNative)('the native scan against the js scan', () => {
  it.each(nativeKernels.map((kernel) => [kernel.name, kernel] as const))(
    'sets the same bits, %s',
    (name, kernel) => {
      fc.assert(
        fc.property(fc.integer(), (caseSeed) => {
          const random = new Random(caseSeed);
          const program = randomProgram(random);
          const same = Buffer.compare(
            Buffer.from(kernel.scan(program, 1 + random.below(3)).buffer),
            Buffer.from(js.scan(program).buffer),
          );
          expect(same).toBe(0);
        }),
        seeded(`native scan, ${name}`, 400),
      );
    },
  );

  it('refuses programs and columns that do not fit, as js does', () => {
    const codes = new Uint8Array(10);
    const bits = new Uint32Array(2);
    const range = { kind: 'range', codes, low: 0, high: 1, negate: false, present: null } as const;
    const any = { kind: 'anyFlag', codes, flags: bits, negate: false, present: null } as const;
    const program = (leaf: unknown, postfix = [0]): ScanProgram => ({
      itemCount: 10,
      leaves: [leaf as ScanLeaf],
      postfix: Int32Array.from(postfix),
    });
    const wrong: ScanProgram[] = [
      program(range, [0, 0]),
      program(range, []),
      program(range, [AND]),
      program(range, [1]),
      program(range, [0, 0, -3]),
      program({ ...range, codes: new Uint8Array(9) }),
      program({ ...range, present: new Uint32Array(4) }),
      program({ ...any, offsets: new Uint32Array(10) }),
      program({ ...any, offsets: new Uint32Array(11) }),
      program({ kind: 'bits', bits: new Uint32Array(1), negate: false, present: null }),
      program(range, [...new Array(300).fill(0), ...new Array(299).fill(AND)]),
    ];
    for (const bad of wrong) {
      for (const kernel of [js, ...nativeKernels]) {
        expect(() => kernel.scan(bad), JSON.stringify([kernel.name, wrong.indexOf(bad)])).toThrow(
          expect.objectContaining({ code: 'ESP_SHAPE' }),
        );
      }
    }
  });
});
