/**
 * Runs both exported models in ONNX Runtime on the rows that export.py wrote and prints the largest
 * difference from torch's logits; fails above TOLERANCE.
 *
 * decoder-with-past: one prefill of 50 left-padded rows of unequal length with an empty past, then one step
 * of 50 rows with it. logits: row by row.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import * as ort from 'onnxruntime-node';

const TOLERANCE = 1e-3; // float32 sums in another order, logits of magnitude 10 to 20
const output = process.env.OUTPUT_DIR ?? resolve(import.meta.dirname, '..');
const { layers, heads, headWidth, cases } = JSON.parse(
  readFileSync(resolve(import.meta.dirname, 'intermediate/onnx-check.json'), 'utf8'),
);
const rows = cases.length;

const int64 = (values, dims) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), dims);
const session = (name) =>
  ort.InferenceSession.create(readFileSync(resolve(output, `models/${name}/1/model.onnx`)));

function largestDifference(found, expected) {
  let largest = 0;
  for (const [row, logits] of expected.entries()) {
    for (const [token, value] of logits.entries()) {
      largest = Math.max(largest, Math.abs(found[row * logits.length + token] - value));
    }
  }
  return largest;
}

async function checkWithPast() {
  const model = await session('retail');
  const prompts = cases.map(({ ids }) => ids.slice(0, -1));
  const width = Math.max(...prompts.map((ids) => ids.length));
  const padded = (fill) => prompts.flatMap((ids) => [...Array(width - ids.length).fill(0), ...fill(ids)]);
  const mask = padded((ids) => ids.map(() => 1));
  const feeds = {
    input_ids: int64(
      padded((ids) => ids),
      [rows, width],
    ),
    attention_mask: int64(mask, [rows, width]),
    position_ids: int64(
      padded((ids) => ids.map((_, position) => position)),
      [rows, width],
    ),
  };
  const pastNames = Array.from({ length: layers }, (_, layer) => [`${layer}.key`, `${layer}.value`]).flat();
  for (const name of pastNames) {
    feeds[`past_key_values.${name}`] = new ort.Tensor('float32', new Float32Array(0), [
      rows,
      heads,
      0,
      headWidth,
    ]);
  }
  const prefill = await model.run(feeds);
  const next = {
    input_ids: int64(
      cases.map(({ ids }) => ids.at(-1)),
      [rows, 1],
    ),
    attention_mask: int64(
      prompts.flatMap((_, row) => [...mask.slice(row * width, (row + 1) * width), 1]),
      [rows, width + 1],
    ),
    position_ids: int64(
      prompts.map((ids) => ids.length),
      [rows, 1],
    ),
  };
  for (const name of pastNames) next[`past_key_values.${name}`] = prefill[`present.${name}`];
  const started = performance.now();
  const step = await model.run(next);
  const stepMs = performance.now() - started;
  return {
    prefill: largestDifference(
      prefill.logits.data,
      cases.map(({ atPrompt }) => atPrompt),
    ),
    step: largestDifference(
      step.logits.data,
      cases.map(({ atEnd }) => atEnd),
    ),
    stepMs,
  };
}

async function checkLogits() {
  const model = await session('retail-logits');
  let largest = 0;
  for (const { ids, atEnd } of cases) {
    const { logits } = await model.run({ input_ids: int64(ids, [1, ids.length]) });
    largest = Math.max(largest, largestDifference(logits.data, [atEnd]));
  }
  return largest;
}

const withPast = await checkWithPast();
const plain = await checkLogits();
console.log(
  `largest logit difference: prefill ${withPast.prefill.toExponential(2)}, ` +
    `step ${withPast.step.toExponential(2)} (50 rows, ${withPast.stepMs.toFixed(1)} ms cold), ` +
    `logits ${plain.toExponential(2)}`,
);
if (Math.max(withPast.prefill, withPast.step, plain) > TOLERANCE) process.exit(1);
