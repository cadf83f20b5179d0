import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  AND,
  allBits,
  type Codes,
  isBitSet,
  MAX_SCAN_DEPTH,
  OR,
  type ScanLeaf,
  type ScanProgram,
  scan,
  setBit,
  wordsFor,
} from '../../src/kernels/index.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

const ITEM_COUNTS = [0, 1, 31, 32, 33, 63, 64, 65, 16_383, 16_384, 16_385, 40_000];

describe('scan', () => {
  it('says of each item what its tests say one by one', () => {
    fc.assert(
      fc.property(fc.nat(), (caseSeed) => {
        const random = new Random(caseSeed);
        const program = randomProgram(random);
        const bits = scan(program);
        const expected = new Uint32Array(wordsFor(program.itemCount));
        for (let item = 0; item < program.itemCount; item++) {
          if (passes(program, item)) setBit(expected, item);
        }
        expect(Buffer.from(bits.buffer).equals(Buffer.from(expected.buffer))).toBe(true);
      }),
      seeded('scan programs', 300),
    );
  });

  const bits = (itemCount: number): ScanLeaf => ({
    kind: 'bits',
    bits: allBits(itemCount),
    negate: false,
    present: null,
  });
  const range = {
    kind: 'range',
    codes: Uint8Array.of(0, 1, 255),
    low: 1,
    high: 255,
    negate: false,
    present: null,
  } as const;
  const single = (leaf: ScanLeaf, itemCount = 3): ScanProgram => ({
    itemCount,
    leaves: [leaf],
    postfix: Int32Array.of(0),
  });

  it('lets neither a test nor its opposite pass where the value is missing', () => {
    const present = Uint32Array.of(0b011, 0);
    expect(scan(single({ ...range, present }))[0]).toBe(0b010);
    expect(scan(single({ ...range, present, negate: true }))[0]).toBe(0b001);
  });

  it('knows empty ranges, NaN, infinities, and codes beyond the flags', () => {
    expect(scan(single({ ...range, low: 2, high: 1 }))[0]).toBe(0);
    expect(scan(single({ ...range, low: Number.NaN }))[0]).toBe(0);
    const doubles = { ...range, codes: Float64Array.of(Number.NaN, -0, Number.POSITIVE_INFINITY) };
    expect(scan(single({ ...doubles, low: 0, high: Number.POSITIVE_INFINITY }))[0]).toBe(0b110);
    expect(scan(single({ ...doubles, low: 0, high: 0, negate: true }))[0]).toBe(0b101);
    const flags = {
      kind: 'flags',
      codes: Uint32Array.of(0, 1, 2 ** 32 - 1),
      negate: false,
      present: null,
    } as const;
    expect(scan(single({ ...flags, flags: Uint32Array.of(0b10, 0) }))[0]).toBe(0b010);
  });

  it('refuses programs that do not fit', () => {
    const misfits: [string, ScanProgram][] = [
      ['no result', { itemCount: 3, leaves: [range], postfix: new Int32Array(0) }],
      ['two results', { itemCount: 3, leaves: [range], postfix: Int32Array.of(0, 0) }],
      ['an operator without operands', { itemCount: 3, leaves: [range], postfix: Int32Array.of(0, AND) }],
      ['an unknown operator', { itemCount: 3, leaves: [range], postfix: Int32Array.of(0, 0, -3) }],
      ['a leaf that is not there', { itemCount: 3, leaves: [range], postfix: Int32Array.of(1) }],
      ['too many codes', single(range, 2)],
      ['too few bits', single(bits(64), 65)],
      ['too few bits of presence', single({ ...range, present: new Uint32Array(1) })],
      ['offsets that end elsewhere', single({ ...list, offsets: Uint32Array.of(0, 1, 2, 2) })],
      ['too few offsets', single({ ...list, offsets: Uint32Array.of(0, 1, 3) })],
      [
        'too deep a stack',
        {
          itemCount: 3,
          leaves: [range],
          postfix: Int32Array.from([
            ...new Array(MAX_SCAN_DEPTH + 1).fill(0),
            ...new Array(MAX_SCAN_DEPTH).fill(OR),
          ]),
        },
      ],
    ];
    for (const [what, program] of misfits) {
      expect(() => scan(program), what).toThrow(expect.objectContaining({ code: 'ESP_SHAPE' }));
    }
  });

  const list = {
    kind: 'anyFlag',
    offsets: Uint32Array.of(0, 1, 2, 3),
    codes: Uint8Array.of(0, 1, 2),
    flags: Uint32Array.of(0b101, 0),
    negate: false,
    present: null,
  } as const;

  it('reads no codes beyond the last where offsets lie about their order', () => {
    // Behind the last, an array of JS has undefined, which would pass for code 0.
    const lying = { ...list, offsets: Uint32Array.of(0, 9, 1, 3), codes: Uint8Array.of(1, 1, 1) };
    expect(scan(single(lying))[0]).toBe(0);
  });
});

function randomProgram(random: Random): ScanProgram {
  const itemCount = random.pick(ITEM_COUNTS);
  const leaves = Array.from({ length: 1 + random.below(4) }, () => randomLeaf(random, itemCount));
  const postfix = [random.below(leaves.length)];
  let depth = 1;
  for (let entry = random.below(12); entry > 0; entry--) {
    if (depth >= 2 && random.chance(0.5)) {
      postfix.push(random.pick([AND, OR]));
      depth--;
    } else {
      postfix.push(random.below(leaves.length));
      depth++;
    }
  }
  for (; depth > 1; depth--) postfix.push(random.pick([AND, OR]));
  return { itemCount, leaves, postfix: Int32Array.from(postfix) };
}

function randomLeaf(random: Random, itemCount: number): ScanLeaf {
  const present = random.chance(0.5) ? randomBits(random, itemCount) : null;
  const tested = { negate: random.chance(0.4), present };
  const kind = random.pick(['range', 'flags', 'anyFlag', 'bits'] as const);
  const type = random.pick([Uint8Array, Uint16Array, Uint32Array]);
  const bound = random.pick([5, 2 ** (8 * type.BYTES_PER_ELEMENT)]);
  switch (kind) {
    case 'bits':
      return { kind, bits: randomBits(random, itemCount), ...tested };
    case 'range': {
      const isDouble = random.chance(0.3);
      const codes: Codes = isDouble
        ? Float64Array.from({ length: itemCount }, () => random.pick([random.normal(), -0, 0, Number.NaN]))
        : new type(itemCount).map(() => random.below(bound));
      const one = () => (isDouble ? random.pick([random.normal(), 0, -0]) : random.below(bound));
      const low = random.pick([one(), one(), Number.NEGATIVE_INFINITY]);
      return { kind, codes, low, high: random.pick([one(), low, Number.POSITIVE_INFINITY]), ...tested };
    }
    case 'flags': {
      const codes = new type(itemCount).map(() => random.below(bound));
      return { kind, codes, flags: randomBits(random, Math.min(bound, 70_000)), ...tested };
    }
    case 'anyFlag': {
      const offsets = new Uint32Array(itemCount + 1);
      for (let item = 0; item < itemCount; item++) offsets[item + 1] = offsets[item] + random.below(4);
      const codes = new type(offsets[itemCount]).map(() => random.below(bound));
      return { kind, offsets, codes, flags: randomBits(random, Math.min(bound, 70_000)), ...tested };
    }
  }
}

/** With bits beyond the last, too, which must not get out. */
function randomBits(random: Random, count: number): Uint32Array {
  return Uint32Array.from({ length: wordsFor(count) }, () => random.below(2 ** 32));
}

function passes({ leaves, postfix }: ScanProgram, item: number): boolean {
  const stack: boolean[] = [];
  for (const entry of postfix) {
    if (entry >= 0) stack.push(leafPasses(leaves[entry], item));
    else {
      const [a, b] = [stack.pop()!, stack.pop()!];
      stack.push(entry === AND ? a && b : a || b);
    }
  }
  return stack[0];
}

function leafPasses(leaf: ScanLeaf, item: number): boolean {
  if (leaf.present && !isBitSet(leaf.present, item)) return false;
  return test(leaf, item) !== leaf.negate;
}

function test(leaf: ScanLeaf, item: number): boolean {
  const has = (flags: Uint32Array, code: number) => code < flags.length * 32 && isBitSet(flags, code);
  switch (leaf.kind) {
    case 'range':
      return leaf.low <= leaf.codes[item] && leaf.codes[item] <= leaf.high;
    case 'flags':
      return has(leaf.flags, leaf.codes[item]);
    case 'anyFlag':
      return Array.from(leaf.codes.subarray(leaf.offsets[item], leaf.offsets[item + 1])).some((code) =>
        has(leaf.flags, code),
      );
    case 'bits':
      return isBitSet(leaf.bits, item);
  }
}
