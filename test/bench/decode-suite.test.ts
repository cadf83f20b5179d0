import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arrayTrieJs } from '../../bench/baselines/array-trie.js';
import { nestedMap } from '../../bench/baselines/nested-map.js';
import type { Idea } from '../../bench/baselines/rival.js';
import { type Check, exact } from '../../bench/suites/decode/contenders.js';
import { type Decoder, ourDecoder, rivalDecoder } from '../../bench/suites/decode/decoder.js';
import { AllowedSids, differenceOf, referenceDecode } from '../../bench/suites/decode/reference.js';
import { decode } from '../../bench/suites/decode.js';
import { chooseKernel, tokenOf } from '../../src/kernels/index.js';
import { buildStaticTrie } from '../../src/static-trie/index.js';
import { Random } from '../helpers/random.js';
import { seeded } from '../helpers/seed.js';
import { tableModel } from './table-model.js';

const request = { tokens: [3, 1, 4], items: [] };

/** A model, some SIDs that it may write, and decoders of both kinds. */
async function setUp(seed: number) {
  const random = new Random(seed);
  const levels = 2 + random.below(3);
  const codes = 2 + random.below(6);
  const rowCount = 1 + random.below(60);
  const rows = Array.from({ length: rowCount }, () =>
    Array.from({ length: levels }, () => random.below(codes)),
  );
  const model = tableModel(levels, codes);
  const inTokens = rows.map((sid) => sid.map((code, level) => tokenOf(model.levelTokens[level], code)));
  const trieOf = (size: number, sids: number[][]) =>
    buildStaticTrie({
      codebookSizes: new Array(levels).fill(size),
      rowCount,
      codes: Uint32Array.from(sids.flat()),
    }).trie;
  const beamWidth = 1 + random.below(12);
  const constraint = { trie: trieOf(codes, rows), live: null, dead: null };
  const table = trieOf(model.vocabSize, inTokens);
  const seats = { tableOf: [0], beamWidth, vocabSize: model.vocabSize };
  const decoders: Record<string, Decoder> = {
    js: ourDecoder(model, chooseKernel('js'), beamWidth, () => constraint),
  };
  for (const idea of [nestedMap, arrayTrieJs] as unknown as Idea[]) {
    decoders[idea.name] = rivalDecoder(
      model,
      idea.start([await idea.build(table)], [table], seats),
      beamWidth,
    );
  }
  const allowed = new AllowedSids(inTokens, model.vocabSize);
  return { model, inTokens, beamWidth, decoders, allowed };
}

describe('decodes', () => {
  it('come to what beam search as it is written in a book comes to, twice in a row', async () => {
    let clear = 0;
    await fc.assert(
      fc.asyncProperty(fc.integer(), async (seed) => {
        const { model, beamWidth, decoders, allowed } = await setUp(seed);
        for (const one of [request, { ...request, tokens: [9] }]) {
          const expected = await referenceDecode(model, one, beamWidth, allowed);
          expect(expected.sids.every((sid) => allowed.has(sid))).toBe(true);
          if (!expected.isClear) continue;
          clear++;
          for (const [name, decoder] of Object.entries(decoders)) {
            expect(differenceOf(await decoder(one), expected), name).toBeUndefined();
          }
        }
      }),
      seeded('whole decodes', 40),
    );
    expect(clear).toBeGreaterThan(40);
  });

  it('of a wide beam find every SID that there is, and without a constraint what no item has', async () => {
    const { model, inTokens, allowed } = await setUp(2);
    const all = await referenceDecode(model, request, 5000, allowed);
    expect(all.sids.map(String).sort()).toEqual([...new Set(inTokens.map(String))].sort());
    const free = await referenceDecode(model, request, 300, null);
    expect(free.sids).toHaveLength(300);
    expect(free.sids.filter((sid) => allowed.has(sid)).length).toBeLessThan(300);
  });

  it('that are wrong are found out: another SID, another score, one too few, one twice, another order', async () => {
    const { model, beamWidth, decoders, allowed } = await setUp(7);
    const expected = await referenceDecode(model, request, beamWidth, allowed);
    expect(expected.isClear && expected.sids.length > 2).toBe(true);
    const check: Check = { request, allowed: expected, free: expected };
    const judge = async (spoil: (found: Awaited<ReturnType<Decoder>>) => void) => {
      const spoiled: Decoder = async (asked) => {
        const found = await decoders.js(asked);
        spoil(found);
        return found;
      };
      const options = { checks: [check], requests: [request] };
      return exact(
        { name: 'spoiled', kind: 'rival' },
        spoiled,
        options,
        ({ allowed: right }) => right,
      ).verify();
    };
    expect(await judge(() => {})).toEqual({ hash: expect.stringMatching(/^[0-9a-f]{16}$/) });
    const faults = [
      [({ sids }) => sids[1].fill(0), /beam 1: 0-0.* is none of the \d+ best/],
      [({ scores }) => scores.fill(scores[1] + 0.001, 1, 2), /beam 1: expected the score/],
      [({ sids }) => sids.pop(), /expected \d+ beams, found \d+/],
      [
        ({ sids, scores }) => Object.assign(sids, { 1: sids[0] }) && scores.fill(scores[0], 1, 2),
        /comes twice/,
      ],
      [({ sids, scores }) => [sids.reverse(), scores.reverse()], /beam 1 is better than the one before/],
    ] satisfies [(found: Awaited<ReturnType<Decoder>>) => unknown, RegExp][];
    for (const [spoil, fault] of faults) expect((await judge(spoil)).fault).toMatch(fault);
  });
});

describe('the plan', () => {
  it.each([
    ['small', 3, 4],
    ['quick', 8, 8],
    ['full', 60, 14],
  ] as const)('of a %s run takes %i seconds, and has every axis', (size, seconds, count) => {
    const planned = decode.plan({ size, seed: 1, large: false, axes: [] });
    expect(planned.reduce((sum, one) => sum + one.seconds, 0)).toBeLessThanOrEqual(seconds);
    expect(planned.length).toBeLessThanOrEqual(count);
    expect(new Set(planned.map(({ axis }) => axis))).toEqual(new Set(decode.axes));
    expect(new Set(planned.map(({ axis, at }) => `${axis} ${at}`)).size).toBe(planned.length);
  });
});
