/** Which tokens share the probability mass: all, the level's own, or the live children's. */
export const normalizations = ['vocabulary', 'level', 'live'] as const;
export type Normalization = (typeof normalizations)[number];

/** Code → token of one level: token = offset + code, or token = table[code]. */
export type LevelTokens = { offset: number } | { table: Uint32Array };

export function tokenOf(tokens: LevelTokens, code: number): number {
  return 'table' in tokens ? tokens.table[code] : tokens.offset + code;
}

/** A logit that must not be: NaN or +infinity, at this index of what was read. */
export class BadLogit {
  constructor(
    readonly index: number,
    readonly value: number,
  ) {}
}

/** Powers are looked up in steps of 1 / 64, and what a step leaves is made up by a polynomial. */
const STEPS = 64;
/** Below 2^-128 a term adds nothing to a float64 sum of at least 1, of however many. */
const powers = Float64Array.from({ length: 128 * STEPS + 1 }, (_, step) => 2 ** (-step / STEPS));
const LARGEST_FALL = 128 * STEPS;

/**
 * log Σ exp(values), as float32; −Infinity where all values are −Infinity. The sum runs in float64, and each of its
 * terms is right to 4e-11 of itself: a third of what Math.exp takes, which is most of a step.
 * @throws BadLogit on NaN or +infinity.
 */
export function logSumExp(values: Float32Array): number {
  // Two passes: the maximum must be known before exp, or it overflows.
  let maximum = Number.NEGATIVE_INFINITY;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    // One test for both faults: NaN compares false with everything.
    if (!(value < Number.POSITIVE_INFINITY)) throw new BadLogit(index, value);
    if (value > maximum) maximum = value;
  }
  if (maximum === Number.NEGATIVE_INFINITY) return maximum;
  let sum = 0;
  for (let index = 0; index < values.length; index++) {
    /** How far below the maximum, as a power of two, in steps. */
    const fall = (maximum - values[index]) * (STEPS / Math.LN2);
    if (fall > LARGEST_FALL) continue;
    const step = (fall + 0.5) | 0;
    const rest = (step - fall) * (Math.LN2 / STEPS);
    sum += powers[step] * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6))));
  }
  return Math.fround(maximum + Math.log(sum));
}

/** A logit divided by the temperature, a float32, so that every kernel sees the same number. */
export function scaledLogit(logit: number, temperature: number): number {
  return temperature === 1 ? logit : Math.fround(logit / temperature);
}
