import type { Random } from '../random.js';

const LONG = 'x'.repeat(5_000);
const WRONG: readonly unknown[] = [
  null,
  true,
  -1,
  0,
  0.5,
  1e308,
  2 ** 53,
  '',
  '\u0000',
  '\ud800',
  '../../etc/passwd',
  'ünï 🎁',
  LONG,
  [],
  {},
  [[[[]]]],
  { __proto__: null, constructor: { prototype: {} } },
];

/** The same value with something wrong somewhere in it. */
export function spoilValue(value: unknown, random: Random): unknown {
  if (value === null || typeof value !== 'object' || random.chance(0.3)) return random.pick(WRONG);
  if (Array.isArray(value)) {
    if (value.length === 0 || random.chance(0.2)) return [...value, random.pick(WRONG)];
    const index = random.below(value.length);
    return value.map((entry, at) => (at === index ? spoilValue(entry, random) : entry));
  }
  const entries = Object.entries(value);
  if (entries.length === 0 || random.chance(0.25)) {
    return { ...value, [random.pick(['unknown', 'constructor', '', 'K', LONG])]: random.pick(WRONG) };
  }
  const [key, entry] = random.pick(entries);
  if (random.chance(0.2)) return Object.fromEntries(entries.filter(([name]) => name !== key));
  return { ...value, [key]: spoilValue(entry, random) };
}

/** The same bytes, and then not. */
export function spoilBytes(bytes: Buffer, random: Random): Buffer {
  const at = random.below(bytes.length + 1);
  switch (random.below(7)) {
    case 0:
      return bytes.subarray(0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), Buffer.of(0xff, 0xc0, 0x80), bytes.subarray(at)]);
    case 2:
      return Buffer.from('['.repeat(random.pick([100, 10_000, 400_000])));
    case 3:
      return Buffer.from('{"a":'.repeat(random.pick([100, 10_000, 150_000])));
    case 4:
      return Buffer.concat([bytes, bytes]);
    case 5:
      return Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), bytes]);
    default: {
      const flipped = Buffer.from(bytes);
      if (at < flipped.length) flipped[at] ^= 1 << random.below(8);
      return flipped;
    }
  }
}
