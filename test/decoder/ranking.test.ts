import { beforeAll, describe, expect, it } from 'vitest';
import { ActiveCatalog } from '../../src/decoder/active-catalog.js';
import { answerOf } from '../../src/decoder/answer.js';
import type { Model } from '../../src/decoder/model.js';
import { prepareRequest } from '../../src/decoder/prepare-request.js';
import type { RecommendQuery } from '../../src/decoder/recommend-query.js';
import { query } from '../helpers/query.js';
import { writeItems } from '../helpers/small-catalog.js';

/** Leaves 0 to 3, in the order of their SIDs; ids whose order is neither that of SIDs nor of any alphabet. */
const items = [
  { id: 'ｚ', sid: [0, 0] },
  { id: 'b', sid: [0, 1] },
  { id: '😀', sid: [0, 1] },
  { id: 'B', sid: [1, 0] },
  { id: 'a', sid: [1, 1] },
];
let catalog: ActiveCatalog;

beforeAll(async () => {
  const { path, version } = await writeItems(items, [2, 2]);
  const model = {
    manifest: {
      tokens: { bos: 1 },
      context: { maxItems: 3, order: 'oldestFirst' },
      sid: { codebookSizes: [2, 2] },
    },
    levelTokens: [{ offset: 2 }, { offset: 4 }],
    vocabSize: 6,
  } as unknown as Model;
  const ref = { name: 'any', version: 1, folder: '' };
  catalog = new ActiveCatalog(
    { catalog: 'ties', version: 1, path, model: ref, sets: [], changes: null },
    version,
    model,
  );
});

function answer(fields: Partial<RecommendQuery>, leaves: number[], scores: number[]): string[] {
  const request = prepareRequest(catalog, query(fields));
  const result = { leaves: Uint32Array.from(leaves), scores: Float32Array.from(scores) };
  const { items: found } = answerOf(
    request,
    result,
    { prefillMs: 0, modelMs: 0, constraintMs: 0 },
    undefined,
  );
  return found.map(({ id }) => id);
}

describe('the order of an answer', () => {
  it('is by score, then by id in code units, whatever SIDs the items are on', () => {
    const tied = [-1, -1, -1, -1];
    expect(answer({}, [0, 1, 2, 3], tied)).toEqual(['B', 'a', 'b', '😀', 'ｚ']);
    expect(answer({}, [3, 2, 1, 0], tied)).toEqual(['B', 'a', 'b', '😀', 'ｚ']);
    expect(answer({}, [0, 3, 2, 1], [-1, -1, -2, -2])).toEqual(['a', 'ｚ', 'B', 'b', '😀']);
    expect(answer({}, [0, 3, 1, 2], [-1, -2, -2, -3])).toEqual(['ｚ', 'a', 'b', '😀', 'B']);
  });

  it('decides which of equal items are within k', () => {
    expect(answer({ k: 2 }, [0, 1, 2, 3], [-1, -1, -1, -1])).toEqual(['B', 'a']);
    expect(answer({ k: 2 }, [0, 1, 2, 3], [-1, -2, -2, -3])).toEqual(['ｚ', 'B']);
  });

  it('leaves out what is not allowed among equal items, too', () => {
    const constraint = { exclude: ['B', '😀'] };
    expect(answer({ constraint, k: 3 }, [0, 1, 3], [-1, -1, -1])).toEqual(['a', 'b', 'ｚ']);
  });
});
