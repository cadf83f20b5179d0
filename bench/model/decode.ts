import { historyTokens } from '../../src/decoder/history-tokens.js';
import type { Model } from '../../src/decoder/model.js';
import { tokenOf } from '../../src/kernels/index.js';

/** What one request asks of a model: a history, then the beams of each step. */
export interface Request {
  history: number[];
  steps: { parents: Uint32Array; tokens: Uint32Array }[];
}

/** A request for a random history of so many items, with `beamWidth` beams at every step. */
export function randomRequest(model: Model, items: number, beamWidth: number, random: () => number): Request {
  const { codebookSizes } = model.manifest.sid;
  const below = (bound: number) => Math.floor(random() * bound);
  const sids = Array.from({ length: items }, () => codebookSizes.map(below));
  const steps = codebookSizes.slice(1).map((_, level) => ({
    parents: Uint32Array.from({ length: beamWidth }, () => (level === 0 ? 0 : below(beamWidth))),
    tokens: Uint32Array.from({ length: beamWidth }, () =>
      tokenOf(model.levelTokens[level], below(codebookSizes[level])),
    ),
  }));
  return { history: historyTokens(model, sids), steps };
}

export interface DecodeTimes {
  prefillMs: number;
  stepsMs: number;
}

/** Decodes the requests as one batch. @param see sees every step's logits: float32 [rows, vocabSize] */
export async function decode(
  model: Model,
  requests: readonly Request[],
  see: (logits: Float32Array) => void = () => {},
): Promise<DecodeTimes> {
  const startMs = performance.now();
  const prefills = await model.prefill(requests.map(({ history }) => history));
  const prefilledMs = performance.now();
  const decoding = model.begin(prefills);
  const stepCount = requests[0].steps.length;
  const counts = Uint32Array.from(requests, ({ steps }) => steps[0].parents.length);
  for (let step = 0; step < stepCount; step++) {
    const beams = {
      counts,
      parents: concatenate(requests.map(({ steps }) => steps[step].parents)),
      tokens: concatenate(requests.map(({ steps }) => steps[step].tokens)),
    };
    const { data } = await decoding.advance(beams, step === stepCount - 1);
    see(data);
  }
  return { prefillMs: prefilledMs - startMs, stepsMs: performance.now() - prefilledMs };
}

function concatenate(parts: readonly Uint32Array[]): Uint32Array {
  const all = new Uint32Array(parts.reduce((size, { length }) => size + length, 0));
  let start = 0;
  for (const part of parts) {
    all.set(part, start);
    start += part.length;
  }
  return all;
}
