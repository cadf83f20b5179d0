import { describe, expect, it, vi } from 'vitest';
import { js } from '../../bench/baselines/ours.js';
import type { Idea, Rival, Seats } from '../../bench/baselines/rival.js';
import type { CaseContext } from '../../bench/harness/types.js';
import { type Contestant, runContest, seat } from '../../bench/suites/step/contest.js';
import { RecordedDecodes } from '../../bench/suites/step/recorded-decodes.js';
import { BLOCK, takeTurns } from '../../bench/suites/step/turns.js';
import { buildStaticTrie } from '../../src/static-trie/index.js';
import { Random } from '../helpers/random.js';

const random = new Random(7);
const [levels, vocabSize, rowCount] = [3, 16, 300];
const codes = Uint32Array.from({ length: rowCount * levels }, () => random.below(vocabSize));
const { trie } = buildStaticTrie({ codebookSizes: new Array(levels).fill(vocabSize), rowCount, codes });
const seats: Seats = { tableOf: [0, 0], beamWidth: 5, vocabSize };
const decoding = { constraints: [0, 1].map(() => ({ trie, live: null, dead: null })), ...seats };
const pool = [0, 1, 2].map(() => Float32Array.from({ length: 2 * 5 * vocabSize }, () => random.normal()));
const context: CaseContext = {
  options: { size: 'small', seed: 1, large: false, axes: [] },
  say: () => {},
  signal: new AbortController().signal,
};

/** A contestant that is right, and by another name. */
async function contestant(
  name: string,
  spoil?: (rival: Rival) => void,
): Promise<Contestant & { steps: number[] }> {
  const seated = await seat(js as unknown as Idea, [trie], seats);
  const steps: number[] = [];
  const { step } = seated.rival!;
  seated.rival!.step = (input) => {
    steps.push(input.depth);
    step(input);
  };
  spoil?.(seated.rival!);
  return { ...seated, name, steps };
}

/** Its best two winners of each step change places. */
function swapWinners(rival: Rival): void {
  const { step } = rival;
  rival.step = (input) => {
    step(input);
    const { codes } = rival.batch;
    [codes[0], codes[1]] = [codes[1], codes[0]];
  };
}

async function contest(contestants: Contestant[], yardsticks: string[]) {
  const results = await runContest({ decoding, pool, contestants, yardsticks }, context);
  return new Map(results.map((result) => [result.name, result]));
}

describe('the contest of the step suite', () => {
  it('never times a rival whose winners are wrong, and compares nobody with it', async () => {
    const wrong = await contestant('wrong', swapWinners);
    const results = await contest(
      [await contestant('right'), await contestant('other'), wrong],
      ['right', 'wrong'],
    );
    expect(results.get('wrong')).toMatchObject({
      status: 'failed',
      reason: expect.stringContaining('step 0'),
    });
    expect(results.get('wrong')).not.toHaveProperty('spread');
    expect(results.get('other')).toMatchObject({ status: 'timed', ratioTo: { right: { pairs: 4 } } });
    expect(results.get('other')!.ratioTo).not.toHaveProperty('wrong');
    expect(results.get('other')!.resultHash).toBe(results.get('right')!.resultHash);
    // One decode to see how long it takes, and those of the check.
    expect(wrong.steps.length).toBeLessThan((await contestant('x')).steps.length + 12);
  });

  it('measures a constraint from the log-sum-exp on as many threads', async () => {
    // A clock on which nothing but these steps takes time.
    let now = 0n;
    const clock = vi.spyOn(process.hrtime, 'bigint').mockImplementation(() => now);
    const taking = async (name: string, ms: number) => {
      const one = await contestant(name, (rival) => {
        const { step } = rival;
        rival.step = (input) => {
          step(input);
          now += BigInt(ms * 1e6);
        };
      });
      return name.startsWith('log') ? { ...one, agreement: 'none' as const } : one;
    };
    const floors = ['log-sum-exp', 'log-sum-exp-2-threads'];
    const contestants = [
      await taking(floors[0], 1),
      await taking(floors[1], 4),
      await taking('ours', 6),
      await taking('ours-2-threads', 6),
    ];
    const results = await contest(contestants, floors).finally(() => clock.mockRestore());
    const constraintOf = (name: string) => results.get(name)!.extras!.constraint.value;
    expect([constraintOf('ours'), constraintOf('ours-2-threads')]).toEqual([5000, 2000]);
    expect(Object.keys(results.get('ours')!.ratioTo!)).toEqual(floors);
  });

  it('says what a structure needs and what there is, where it does not fit', async () => {
    const greedy: Idea = {
      ...(js as unknown as Idea),
      demand: () => ({ bytes: 1e15 }),
      build: () => ({ bytes: 0 }),
    };
    expect(await seat(greedy, [trie], seats)).toMatchObject({
      skipped: expect.stringMatching(/^it needs 1000000\.0 GB of memory, and [\d.]+ [GM]B can be used$/),
    });
    expect(await seat(greedy, [trie], seats, 1e9)).toMatchObject({
      skipped: expect.stringContaining('too long to build in so short a run'),
    });
    const refusing: Idea = { ...greedy, demand: () => ({ bytes: 0, refusal: 'not for such tries' }) };
    expect(await seat(refusing, [trie], seats)).toMatchObject({ skipped: 'not for such tries' });
  });

  it('changes who begins, and lets slow rivals sit whole blocks out', async () => {
    const decodes = new RecordedDecodes(decoding, pool, 3);
    const order: string[] = [];
    const runners = await Promise.all(
      ['fast', 'slow'].map(async (name) => {
        const { rival } = await contestant(name, (rival) => {
          const { step } = rival;
          rival.step = (input) => {
            if (input.depth === 0) order.push(name);
            step(input);
          };
        });
        return { rival: rival!, decodes, places: decodes.placesOf(rival!, true) };
      }),
    );
    const timed = await takeTurns(runners, [1, 8], {
      budgetMs: 60,
      least: BLOCK,
      most: 8 * BLOCK,
      signal: context.signal,
    });
    const taken = timed.map(({ turns }) => Array.from(turns, (time) => !Number.isNaN(time)));
    expect(taken[0].every(Boolean)).toBe(true);
    expect(taken[1].filter(Boolean).length).toBeLessThan(taken[0].length);
    for (let from = 0; from < taken[1].length; from += BLOCK)
      expect(new Set(taken[1].slice(from, from + BLOCK)).size).toBe(1);
    // Each block has one more decode, which is not timed.
    expect(order.filter((name) => name === 'fast')).toHaveLength((taken[0].length / BLOCK) * (BLOCK + 1));
    order.length = 0;
    await takeTurns(runners, [1, 1], { budgetMs: 1e6, least: 0, most: 3 * BLOCK, signal: context.signal });
    const blocks = order.filter((_, at) => at % (BLOCK + 1) === 0);
    expect(blocks).toEqual(['fast', 'slow', 'slow', 'fast', 'fast', 'slow']);
  });
});
