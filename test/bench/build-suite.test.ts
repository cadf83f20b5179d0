import { afterAll, describe, expect, it } from 'vitest';
import { buildInJs } from '../../bench/baselines/js-build.js';
import { BuildContest, jsBuilder, nativeBuilders } from '../../bench/suites/build/builders.js';
import { faultOfLists, faultOfTrie } from '../../bench/suites/build/check-build.js';
import { Lexsort } from '../../bench/suites/build/lexsort.js';
import { canMeasurePeak, peakOf } from '../../bench/suites/build/peak.js';
import { drawRows, type RowOptions } from '../../bench/suites/build/rows.js';
import { sidShapes } from '../../bench/suites/sids.js';
import { type BuiltTrie, buildStaticTrie } from '../../src/static-trie/index.js';
import { named } from '../helpers/named.js';

const options = (more: Partial<RowOptions> = {}): RowOptions => {
  return { shape: 'skewed', rowCount: 3000, codebookSize: 30, levels: 4, seed: 7, ...more };
};
/** One code pair holds most rows; two codes are too many pairs to deal by; a single level. */
const shapes: RowOptions[] = [
  ...sidShapes.map((shape) => options({ shape })),
  options({ codebookSize: 2, levels: 3 }),
  options({ codebookSize: 70_000, levels: 3 }),
  options({ codebookSize: 500, levels: 1 }),
  options({ rowCount: 1 }),
];

describe('a sort and build in JavaScript', () => {
  it('has the rows in the same order, and the same nodes, as the reference', () => {
    for (const shape of shapes) {
      const rows = drawRows(shape);
      const { trie, sortedRows } = buildStaticTrie(rows);
      const built = buildInJs(rows);
      expect(built.order, JSON.stringify(shape)).toEqual(sortedRows);
      expect(faultOfLists(trie, built), JSON.stringify(shape)).toBeUndefined();
    }
  });

  it('is refused with a code, a child or a node that is wrong', () => {
    const rows = drawRows(options());
    const { trie } = buildStaticTrie(rows);
    const spoilt = (spoil: (built: ReturnType<typeof buildInJs>) => void) => {
      const built = buildInJs(rows);
      spoil(built);
      return faultOfLists(trie, built);
    };
    expect(spoilt(({ levels }) => levels[2].codes[5]++)).toMatch(/^level 2, node 5: code \d+, expected \d+$/);
    expect(spoilt(({ levels }) => levels[0].firstChild![3]++)).toMatch(/^level 0, node 3: first child/);
    const cutOff = spoilt(({ levels }) => {
      levels[1] = { ...levels[1], codes: Uint16Array.from([...levels[1].codes, 1]) };
    });
    expect(cutOff).toMatch(/^level 1: \d+ nodes, expected \d+$/);
  });
});

describe('the check of a trie against its rows', () => {
  it('passes what the reference and every kernel build', async () => {
    for (const shape of shapes) {
      const rows = drawRows(shape);
      expect(faultOfTrie(rows, buildStaticTrie(rows)), JSON.stringify(shape)).toBeUndefined();
      const contest = new BuildContest(rows);
      for (const builder of [...nativeBuilders(), jsBuilder]) {
        const { fault, hash } = await contest.ours(builder).verify();
        expect(fault, `${builder.name} ${JSON.stringify(shape)}`).toBeUndefined();
        expect(hash).toMatch(/^[0-9a-f]{16}$/);
      }
    }
  });

  const spoils: [string, (built: BuiltTrie) => void, RegExp][] = [
    [
      'equal rows in another order than the input',
      ({ sortedRows }) => swapTwins(sortedRows),
      /row \d+ comes after row \d+/,
    ],
    ['a row twice', ({ sortedRows }) => sortedRows.copyWithin(11, 10, 11), /twice/],
    ['another code', ({ trie }) => trie.rows[4 * 100 + 2]++, /leaf 100, level 2: code/],
    [
      'a node too few',
      ({ trie }) => {
        trie.newPrefix[3][2] = 0;
      },
      /leaf \d+, level 3: a node begins/,
    ],
    [
      'a shared leaf elsewhere',
      ({ leafItems }) => leafItems.sharedLeaves[0]++,
      /leaf \d+ is shared, found leaf/,
    ],
    [
      'too few on a shared leaf',
      ({ leafItems }) => leafItems.sharedStart[1]--,
      /rows or more|on shared leaves/,
    ],
    ['a leaf too many', ({ trie }) => trie.leafCount++, /leaves, expected/],
  ];
  it.each(spoils)('refuses %s', (_name, spoil, fault) => {
    const rows = drawRows(options());
    const built = buildStaticTrie(rows);
    spoil(built);
    expect(faultOfTrie(rows, built)).toMatch(fault);
  });

  it('refuses a second trie that is another, and a rival whose rows are in another order', async () => {
    const rows = drawRows(options());
    const contest = new BuildContest(rows);
    expect(contest.judge(buildStaticTrie(rows)).fault).toBeUndefined();
    const other = buildStaticTrie(rows);
    // Not among what the first one is checked by, and still a part of the trie.
    other.trie.topLevels[1].leafStart[1]++;
    expect(contest.judge(other).fault).toContain('another than the one that was checked');
    const wrong = contest.inJs((given) => {
      const built = buildInJs(given);
      swap(built.order, 0, 1);
      return built;
    });
    expect((await wrong.verify()).fault).toContain('another order');
    expect((await contest.inJs().verify()).fault).toBeUndefined();
  });

  it('has nothing to compare rivals with before a trie of ours was right', () => {
    expect(() => new BuildContest(drawRows(options())).inJs().verify()).toThrow('no trie of ours was right');
  });
});

/** Two rows of one leaf. */
function swapTwins(sortedRows: Uint32Array): void {
  const { codes } = drawRows(options());
  const sidOf = (rank: number) => String(codes.subarray(4 * sortedRows[rank], 4 * sortedRows[rank] + 4));
  const rank = Array.from(sortedRows.keys()).find((one) => one > 0 && sidOf(one) === sidOf(one - 1))!;
  swap(sortedRows, rank - 1, rank);
}

function swap(array: Uint32Array, a: number, b: number): void {
  [array[a], array[b]] = [array[b], array[a]];
}

const lexsort = await Lexsort.start();
afterAll(async () => {
  if (lexsort instanceof Lexsort) await lexsort.close();
});
const noNumpy = typeof lexsort === 'string' && lexsort;
if (noNumpy) console.log(`skipped, numpy's lexsort: ${noNumpy}`);

describe('numpy beside it', () => {
  it.skipIf(noNumpy)(
    named('sorts the rows as the trie has them, and is refused where it does not', noNumpy),
    async () => {
      for (const shape of [options(), options({ codebookSize: 70_000 })]) {
        const rows = drawRows(shape);
        const contest = new BuildContest(rows);
        const { hash } = contest.judge(buildStaticTrie(rows));
        const contender = contest.byLexsort(lexsort);
        expect(await contender.verify()).toEqual({ hash });
        // Other rows than those that the trie is of.
        rows.codes[4] = rows.codes[4] < shape.codebookSize / 2 ? shape.codebookSize - 1 : 0;
        expect((await contender.verify()).fault).toContain('another order');
      }
    },
  );

  it('is left out with a reason where it is not installed', async () => {
    const absent = await Lexsort.start('no-such-python');
    expect(absent).toBe('no-such-python has no numpy: spawn no-such-python ENOENT');
    const contender = new BuildContest(drawRows(options())).byLexsort(absent);
    expect(contender.skipped).toBe(absent);
  });
});

describe('the peak of a build', () => {
  const noProc =
    (!canMeasurePeak && 'this system has no /proc') ||
    (nativeBuilders().length === 0 && 'there is no native builder');
  it.skipIf(noProc)(named('is that of a process of its own, and grows with the rows', noProc), async () => {
    const { signal } = new AbortController();
    const rowCount = 400_000;
    const { peakBytes, leaves } = await peakOf(options({ rowCount, shape: 'uniform' }), 'native', 1, signal);
    expect(leaves).toBeGreaterThan(300_000);
    // The rows alone take eight bytes each.
    expect(peakBytes).toBeGreaterThan(rowCount * 8);
  });
});
