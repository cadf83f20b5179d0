import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { historyTokens } from '../../../src/decoder/history-tokens.js';
import { type Model, openModel } from '../../../src/decoder/model.js';
import { tokenOf } from '../../../src/kernels/index.js';

const data = new URL('../../../examples/online-retail/data/', import.meta.url);
const BEAM_WIDTH = 10;
const BATCH = 25;
const CASES = 300;

interface Beam {
  codes: number[];
  score: number;
}

let model: Model;
beforeAll(async () => {
  model = await openModel(new URL('../../fixtures/models/t5-retail/1', import.meta.url).pathname, 1);
});
afterAll(() => model.close());

it('foresees purchases that it was not trained on far better than chance', async () => {
  const sids = new Map(readLines('items.ndjson.gz').map(({ id, sid }) => [id, sid]));
  // Every thirteenth user: their last purchases were left out of the training.
  const cases = readLines('histories.ndjson.gz')
    .filter((_, index) => index % 13 === 0)
    .slice(0, CASES);
  let hits = 0;
  let real = 0;
  const known = new Set([...sids.values()].map(String));
  for (let start = 0; start < cases.length; start += BATCH) {
    const batch = cases.slice(start, start + BATCH);
    const histories = batch.map(({ historyWithRepeats }) =>
      historyTokens(
        model,
        historyWithRepeats.map((id: string) => sids.get(id)!),
      ),
    );
    const answers = await freeBeams(histories);
    batch.forEach(({ target }, index) => {
      const found = answers[index].map(({ codes }) => String(codes));
      if (found.includes(String(sids.get(target)))) hits++;
      real += found.filter((sid) => known.has(sid)).length;
    });
  }
  console.log(`${hits} of ${cases.length} targets among ${BEAM_WIDTH} beams, ${real} beams are items`);
  // Ten items drawn by chance hold one target in 300, the ten most popular ones one in 28.
  expect(hits).toBeGreaterThan(0.1 * cases.length);
  // Free beams of an untrained model are items once in 5,000 times.
  expect(real).toBeGreaterThan(0.9 * cases.length * BEAM_WIDTH);
});

/** Unconstrained beam search over one batch of histories. */
async function freeBeams(histories: number[][]): Promise<Beam[][]> {
  const { codebookSizes } = model.manifest.sid;
  const prefills = await model.prefill(histories);
  const decoding = model.begin(prefills);
  let beams: Beam[][] = histories.map(() => [{ codes: [], score: 0 }]);
  let rowOf = (request: number, _beam: number) => prefills[request].logits;
  for (let level = 0; level < codebookSizes.length; level++) {
    const children = beams.map((own, request) =>
      own
        .flatMap((beam, parent) => {
          const logits = rowOf(request, parent);
          const scores = Array.from(
            { length: codebookSizes[level] },
            (_, code) => logits[tokenOf(model.levelTokens[level], code)],
          );
          const total = Math.log(scores.reduce((sum, score) => sum + Math.exp(score), 0));
          return scores.map((score, code) => ({
            parent,
            codes: [...beam.codes, code],
            score: beam.score + score - total,
          }));
        })
        .sort((left, right) => right.score - left.score)
        .slice(0, BEAM_WIDTH),
    );
    beams = children;
    if (level === codebookSizes.length - 1) break;
    const { data, vocabSize, firstRows } = await decoding.advance(
      {
        counts: Uint32Array.from(children, ({ length }) => length),
        parents: Uint32Array.from(children.flat(), ({ parent }) => parent),
        tokens: Uint32Array.from(children.flat(), ({ codes }) =>
          tokenOf(model.levelTokens[level], codes[level]),
        ),
      },
      level === codebookSizes.length - 2,
    );
    rowOf = (request, beam) => {
      const row = firstRows[request] + beam;
      return data.subarray(row * vocabSize, (row + 1) * vocabSize);
    };
  }
  return beams;
}

// biome-ignore lint/suspicious/noExplicitAny: lines of two kinds of files
function readLines(name: string): any[] {
  const text = gunzipSync(readFileSync(new URL(name, data))).toString('utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}
