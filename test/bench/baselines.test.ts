import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arrayTrie, arrayTrieJs } from '../../bench/baselines/array-trie.js';
import { denseMask } from '../../bench/baselines/dense-mask.js';
import { hashBitmap } from '../../bench/baselines/hash-bitmap.js';
import { loadNativeRivals } from '../../bench/baselines/native-rivals.js';
import { nestedMap, nestedMapAllJs } from '../../bench/baselines/nested-map.js';
import { js, nativeLevels } from '../../bench/baselines/ours.js';
import { postFilter } from '../../bench/baselines/post-filter.js';
import type { Idea, Rival, Seats } from '../../bench/baselines/rival.js';
import { ppvApproximate, ppvExact, VERIFIED_TOKENS } from '../../bench/baselines/sorted-sids.js';
import { staticCsr } from '../../bench/baselines/static-csr.js';
import { unconstrained } from '../../bench/baselines/unconstrained.js';
import { countItems, decodeAlone } from '../../bench/suites/step/own-decodes.js';
import { RecordedDecodes } from '../../bench/suites/step/recorded-decodes.js';
import { measureShelf } from '../../bench/suites/step/shelf.js';
import { Verifier } from '../../bench/suites/step/verify.js';
import type { TrieArrays } from '../../src/kernels/index.js';
import { buildStaticTrie, findLeaf } from '../../src/static-trie/index.js';
import { named } from '../helpers/named.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';

const { addon, reason } = loadNativeRivals();
if (addon === null) console.log(`skipped, native rivals: ${reason}`);

const inJs = [nestedMap, nestedMapAllJs, arrayTrieJs, js] as unknown as Idea[];
const native = [staticCsr, arrayTrie, ppvExact, denseMask, ...nativeLevels()] as unknown as Idea[];
const exact = addon === null ? inJs : [...inJs, ...native];

interface Case {
  tables: TrieArrays[];
  seats: Seats;
  pool: Float32Array[];
}

function randomCase(random: Random): Case {
  const levels = 2 + random.below(5);
  const vocabSize = random.pick([2, 5, 63, 64, 65, 300, 2049]);
  const used = random.pick([2, 3, vocabSize, vocabSize]);
  const tables = Array.from({ length: 1 + random.below(3) }, () => {
    const rowCount = 1 + random.below(random.pick([1, 3, 200, 3000]));
    const codes = Uint32Array.from({ length: rowCount * levels }, () =>
      random.below(Math.min(used, vocabSize)),
    );
    return buildStaticTrie({ codebookSizes: new Array(levels).fill(vocabSize), rowCount, codes }).trie;
  });
  const tableOf = Array.from({ length: 1 + random.below(3) }, () => random.below(tables.length));
  const beamWidth = 1 + random.below(random.pick([1, 5, 80]));
  const kind = random.pick(['normal', 'normal', 'ties', 'gone']);
  const logit = () => {
    if (kind === 'ties') return random.below(3);
    if (kind === 'gone' && random.chance(0.5)) return Number.NEGATIVE_INFINITY;
    return 2 * random.normal();
  };
  const length = tableOf.length * beamWidth * vocabSize;
  const pool = Array.from({ length: 3 }, () => Float32Array.from({ length }, logit));
  // A row without a finite logit has no logSumExp that scores could be told from.
  if (kind === 'gone')
    for (const logits of pool) for (let at = 0; at < length; at += vocabSize) logits[at] = 0;
  return { tables, seats: { tableOf, beamWidth, vocabSize }, pool };
}

async function start(idea: Idea, { tables, seats }: Case): Promise<Rival> {
  const structures = [];
  for (const table of tables) structures.push(await idea.build(table));
  return idea.start(structures, tables, seats);
}

function recorded({ tables, seats, pool }: Case): RecordedDecodes {
  const constraints = seats.tableOf.map((table) => ({ trie: tables[table], live: null, dead: null }));
  return new RecordedDecodes({ constraints, ...seats }, pool, 3);
}

function judge(rival: Rival, idea: Idea, decodes: RecordedDecodes) {
  return new Verifier(decodes, 3).check(rival, decodes.placesOf(rival, true), idea.agreement);
}

/** Whole decodes, each rival following its own winners. */
function decode(rival: Rival, { tables, seats, pool }: Case): number[][][] {
  return decodeAlone(rival, tables[0].levelCount, seats.beamWidth, (depth) => ({
    logits: pool[depth % pool.length],
    vocabSize: seats.vocabSize,
  })).map(({ sids }) => sids);
}

describe('the rivals of the decode step', () => {
  it('that are exact keep the same children as the js kernel, in the same order, with the same scores', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const one = randomCase(new Random(seed));
        const decodes = recorded(one);
        for (const idea of exact) {
          if (one.tables.some((table) => idea.demand(table).refusal !== undefined)) continue;
          expect(judge(await start(idea, one), idea, decodes).fault, idea.name).toBeUndefined();
        }
      }),
      seeded('exact rivals', 25),
    );
  });

  it('that are exact decode to items alone when they follow their own winners', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const one = randomCase(new Random(seed));
        for (const idea of exact) {
          if (one.tables.some((table) => idea.demand(table).refusal !== undefined)) continue;
          decode(await start(idea, one), one).forEach((sids, request) => {
            const table = one.tables[one.seats.tableOf[request]];
            expect(new Set(sids.map(String)).size, idea.name).toBe(sids.length);
            for (const sid of sids)
              expect(findLeaf(table, sid), `${idea.name}: ${sid}`).toBeGreaterThanOrEqual(0);
            const isWide =
              one.seats.beamWidth >= table.leafCount &&
              one.pool.every((logits) => logits.every(Number.isFinite));
            if (isWide) expect(sids.length, idea.name).toBe(table.leafCount);
          });
        }
      }),
      seeded('exact rivals alone', 10),
    );
  });

  it('are found out when they keep something else', async () => {
    const one = randomCase(new Random(3));
    const decodes = recorded(one);
    const rival = await start(js, one);
    const { step } = rival;
    for (const spoil of ['codes', 'childScores', 'counts'] as const) {
      rival.step = (input) => {
        step(input);
        rival.batch[spoil][0] += 1;
      };
      expect(judge(rival, js, decodes).fault).toMatch(/rank \d+ is .*, expected/);
    }
    rival.step = (input) => {
      step(input);
      rival.batch.normalizers[0] += 0.01;
    };
    expect(judge(rival, js, decodes).fault).toMatch(/logSumExp/);
  });
});

const noAddon = addon === null && reason;
describe.skipIf(noAddon)(named('the rivals that are approximate', noAddon), () => {
  const sids = (rows: number[][], vocabSize: number) =>
    buildStaticTrie({
      codebookSizes: new Array(rows[0].length).fill(vocabSize),
      rowCount: rows.length,
      codes: Uint32Array.from(rows.flat()),
    }).trie;

  it('overlook what lies beyond the tokens that they verify: PPV, by how much', async () => {
    // The only items have the lowest logit of all but 49 tokens: one of two is among the fifty best.
    const vocabSize = 200;
    const logits = Float32Array.from({ length: 2 * vocabSize }, (_, at) => -(at % vocabSize));
    const table = sids(
      [
        [VERIFIED_TOKENS - 1, 0],
        [VERIFIED_TOKENS, 0],
      ],
      vocabSize,
    );
    const one = { tables: [table], seats: { tableOf: [0], beamWidth: 2, vocabSize }, pool: [logits] };
    const verdict = judge(await start(ppvApproximate as Idea, one), ppvApproximate, recorded(one));
    expect(verdict.fault).toBeUndefined();
    // First step: one child of two; second: both beams' only child.
    expect(verdict.recall).toBe(3 / 4);
    expect(decode(await start(ppvApproximate as Idea, one), one)).toEqual([[[VERIFIED_TOKENS - 1, 0]]]);
  });

  it('let prefixes pass that nobody has: the hash bitmap, counted', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const one = randomCase(new Random(seed));
        const built = hashBitmap.build(one.tables[0]) as { bitmap: Uint32Array; bits: number; bytes: number };
        // Half of all bits set: what is no prefix passes as often as not.
        const random = new Random(seed + 1);
        for (let word = 0; word < built.bitmap.length; word++) built.bitmap[word] |= random.below(2 ** 32);
        const alone = { ...one, tables: [one.tables[0]], seats: { ...one.seats, tableOf: [0] } };
        const rival = hashBitmap.start([built as never], alone.tables, alone.seats);
        const decodes = recorded(alone);
        const verdict = judge(rival, hashBitmap, decodes);
        expect(verdict.fault).toBeUndefined();

        // Counted by another way: over the same steps, winners whose prefix no row begins with.
        const [table] = alone.tables;
        const prefixes = new Set<string>();
        for (let leaf = 0; leaf < table.leafCount; leaf++) {
          const row = table.rows.subarray(leaf * table.levelCount, (leaf + 1) * table.levelCount);
          for (let level = 1; level <= table.levelCount; level++)
            prefixes.add(String(row.subarray(0, level)));
        }
        let [kept, wrong] = [0, 0];
        const places = decodes.placesOf(rival, true);
        for (let path = 0; path < 3; path++) {
          for (let depth = 0; depth < decodes.levels; depth++) {
            decodes.load(rival, places, path, depth);
            rival.step(decodes.input(depth, path * decodes.levels + depth));
            for (let child = 0; child < rival.batch.counts[0]; child++) {
              const parent = decodes.prefix(path, depth, rival.batch.parentBeams[child]);
              kept++;
              if (!prefixes.has(String([...parent, rival.batch.codes[child]]))) wrong++;
            }
          }
        }
        expect(verdict.falsePositives).toBe(kept === 0 ? 0 : wrong / kept);
      }),
      seeded('hash bitmap', 10),
    );
  });

  it('keep the best of what exists among their winners: hash bitmap, no constraint, post-filter', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const one = randomCase(new Random(seed));
        const decodes = recorded(one);
        for (const idea of [hashBitmap, unconstrained, postFilter, ppvApproximate] as unknown as Idea[]) {
          expect(judge(await start(idea, one), idea, decodes).fault, idea.name).toBeUndefined();
        }
      }),
      seeded('approximate rivals', 10),
    );
  });

  it('filter after the last step: nothing is left that is no item', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const one = randomCase(new Random(seed));
        const filtered = decode(await start(postFilter as unknown as Idea, one), one);
        const free = decode(await start(unconstrained, one), one);
        filtered.forEach((found, request) => {
          const table = one.tables[one.seats.tableOf[request]];
          expect(found).toEqual(free[request].filter((sid) => findLeaf(table, sid) >= 0));
          expect(countItems(table, free[request])).toBe(found.length);
        });
      }),
      seeded('post-filter', 10),
    );
  });

  it('leave the shelf as full as the rule is wide', async () => {
    const random = new Random(11);
    const rows = Array.from({ length: 4000 }, () => Array.from({ length: 4 }, () => random.below(64)));
    const catalog = sids(rows, 64);
    const allowed = sids(rows.slice(0, 40), 64);
    const one = { tables: [catalog], seats: { tableOf: [0], beamWidth: 30, vocabSize: 64 }, pool: [] };
    const logits = Float32Array.from({ length: 30 * 64 }, () => 2 * random.normal());
    const shelfOf = async (table: TrieArrays) =>
      measureShelf(await start(unconstrained, one), catalog, table, { beamWidth: 30, vocabSize: 64, logits });
    const all = await shelfOf(catalog);
    expect(all.items).toBeGreaterThan(0.6);
    expect(all.filled).toBe(1);
    // One beam in a hundred is allowed: thirty beams hold less than one on average.
    expect((await shelfOf(allowed)).filled).toBeLessThan(0.2);
  });
});
