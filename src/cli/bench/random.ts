const MULTIPLIER = 0x5851_f42d_4c95_7f2dn;
const INCREMENT = 0x1405_7b7e_f767_814fn;
const MASK = (1n << 64n) - 1n;

/** A seeded generator of doubles in [0, 1): the upper half of a 64-bit linear congruential state. */
export function seededRandom(seed: number): () => number {
  let state = BigInt(seed);
  const next = () => {
    state = (state * MULTIPLIER + INCREMENT) & MASK;
    return Number(state >> 32n) / 2 ** 32;
  };
  // A small seed shows in the first few.
  for (let turn = 0; turn < 4; turn++) next();
  return next;
}
