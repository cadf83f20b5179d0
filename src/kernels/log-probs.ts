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

/**
 * log Σ exp(values), as float32; −Infinity where all values are −Infinity. The sum runs in float64.
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
  for (let index = 0; index < values.length; index++) sum += Math.exp(values[index] - maximum);
  return Math.fround(maximum + Math.log(sum));
}

/** A logit divided by the temperature, a float32, so that every kernel sees the same number. */
export function scaledLogit(logit: number, temperature: number): number {
  return temperature === 1 ? logit : Math.fround(logit / temperature);
}
