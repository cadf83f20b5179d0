import type { Prefill } from '../../src/decoder/contracts/contract.js';
import type { Model } from '../../src/decoder/model.js';
import { Random } from '../helpers/random.js';

interface TablePrefill extends Prefill {
  seed: number;
}

/**
 * A model whose logits are drawn anew for each prefix: what a beam wrote decides what it may write next, so that a
 * decoder that continues the wrong beam is found out. Level l's tokens begin at 1 + l * codes.
 */
export function tableModel(levels: number, codes: number): Model {
  const vocabSize = 1 + levels * codes;
  const row = (seed: number, prefix: readonly number[]) => {
    const random = new Random(prefix.reduce((mixed, token) => Math.imul(mixed, 31) + token, seed));
    return Float32Array.from({ length: vocabSize }, () => 2 * random.normal());
  };
  return {
    manifest: {} as Model['manifest'],
    levelTokens: Array.from({ length: levels }, (_, level) => ({ offset: 1 + level * codes })),
    vocabSize,
    batchesRagged: true,
    prefill: async (histories) =>
      histories.map((history): TablePrefill => {
        const seed = history.reduce((mixed, token) => Math.imul(mixed, 17) + token, 5);
        return { logits: row(seed, []), bytes: 0, length: history.length, seed };
      }),
    begin([prefill]) {
      const { seed } = prefill as TablePrefill;
      let prefixes: number[][] = [[]];
      return {
        async advance({ counts, parents, tokens }) {
          prefixes = Array.from({ length: counts[0] }, (_, beam) => [
            ...prefixes[parents[beam]],
            tokens[beam],
          ]);
          const data = new Float32Array(counts[0] * vocabSize);
          prefixes.forEach((prefix, beam) => {
            data.set(row(seed, prefix), beam * vocabSize);
          });
          return { data, vocabSize, firstRows: Uint32Array.of(0) };
        },
      };
    },
    inTurn: (decode) => decode(),
    close: async () => {},
  };
}
