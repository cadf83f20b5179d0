import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BatchCost } from '../../src/decoder/batch-cost.js';
import { seeded } from '../helpers/seed.js';

const MODEL = 'a';

/** What is guessed after batches of so many rows each, which take as long as `ms` says. */
function after(rows: readonly number[], ms: (rows: number) => number): (rows: number) => number {
  const cost = new BatchCost();
  for (const one of rows) cost.record(MODEL, one, ms(one));
  return (wanted) => cost.batchMs(MODEL, wanted);
}

describe('what a batch will take', () => {
  it('is nothing before one has ended', () => {
    expect(new BatchCost().batchMs(MODEL, 50)).toBe(0);
  });

  it('is that of all others where they all have as many rows', () => {
    const guess = after(Array(20).fill(1), () => 30);
    expect([1, 50, 1_000].map(guess)).toEqual([30, 30, 30].map((ms) => expect.closeTo(ms, 6)));
  });

  it('follows the rows where the batches tell what one costs', () => {
    const ms = (rows: number) => 5 + 0.2 * rows;
    const guess = after([1, 400, 50, 200, 1, 350, 100, 400, 20, 300], ms);
    for (const rows of [1, 50, 400, 800]) expect(guess(rows) / ms(rows)).toBeGreaterThan(0.9);
    for (const rows of [50, 400, 800]) expect(guess(rows) / ms(rows)).toBeLessThan(1.1);
  });

  it('follows a change of load', () => {
    const rows = Array.from({ length: 60 }, (_, index) => (index % 2 === 0 ? 50 : 400));
    let batch = 0;
    const guess = after(rows, (one) => (batch++ < 30 ? 1 : 3) * (5 + 0.2 * one));
    expect(guess(400) / (3 * (5 + 0.2 * 400))).toBeGreaterThan(0.9);
  });

  it('is never less than nothing, grows with the rows, and no faster than they do', () => {
    const batch = fc.record({
      rows: fc.integer({ min: 1, max: 1_024 }),
      ms: fc.double({ min: 0.1, max: 500, noNaN: true }),
    });
    fc.assert(
      fc.property(
        fc.array(batch, { minLength: 1, maxLength: 40 }),
        fc.integer({ min: 1, max: 1_024 }),
        (batches, rows) => {
          const cost = new BatchCost();
          for (const one of batches) cost.record(MODEL, one.rows, one.ms);
          const [once, twice] = [rows, 2 * rows].map((wanted) => cost.batchMs(MODEL, wanted));
          const slack = 1e-9 * twice;
          return once > 0 && twice >= once - slack && twice <= 2 * once + slack;
        },
      ),
      seeded('costs of batches', 2_000),
    );
  });
});
