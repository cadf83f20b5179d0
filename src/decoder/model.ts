import { join } from 'node:path';
import { type ErrorDetail, EspalierError } from '../errors.js';
import { type LevelTokens, tokenOf } from '../kernels/index.js';
import type { Contract, ModelDecoding, StepLogits } from './contracts/contract.js';
import { decoderWithPastContract } from './contracts/decoder-with-past.js';
import { logitsContract } from './contracts/logits.js';
import { levelTokensOf, type ModelManifest, readModelManifest } from './model-manifest.js';
import { type OnnxGraph, openOnnxGraph } from './onnx-graph.js';

const contracts: Record<ModelManifest['contract'], Contract> = {
  logits: logitsContract,
  'decoder-with-past': decoderWithPastContract,
};

/** A model that was opened, checked against its contract, and tried once. */
export interface Model {
  manifest: ModelManifest;
  levelTokens: readonly LevelTokens[];
  vocabSize: number;
  open(): ModelDecoding;
  close(): Promise<void>;
}

/**
 * Opens the model in `folder` and makes sure that it fits: names, types and shapes of inputs and outputs, the
 * vocabulary, and one decode over the longest context that the manifest allows.
 * @throws EspalierError ESP_MODEL_NOT_FOUND, ESP_MODEL_MANIFEST, ESP_MODEL_MISFIT, ESP_MODEL_OUTPUT
 */
export async function openModel(folder: string, threads: number): Promise<Model> {
  const manifest = readModelManifest(folder);
  const { name, contract: contractName, files } = manifest;
  let graph: OnnxGraph;
  try {
    graph = await openOnnxGraph(join(folder, files.model), threads);
  } catch (cause) {
    throw new EspalierError('ESP_MODEL_MISFIT', `model ${name}: ${files.model} does not load as ONNX`, {
      cause,
      // ONNX Runtime names the whole path, which is nobody's business outside.
      details: [
        {
          field: 'files.model',
          expected: 'a readable ONNX file',
          found: firstLine(cause).replaceAll(`${folder}/`, ''),
        },
      ],
    });
  }
  try {
    const contract = contracts[contractName];
    refuse(name, contract.check(graph));
    const levelTokens = levelTokensOf(manifest);
    const vocabSize = await probe(manifest, levelTokens, contract.open(graph));
    return {
      manifest,
      levelTokens,
      vocabSize,
      open: () => contract.open(graph),
      close: () => graph.close(),
    };
  } catch (thrown) {
    await graph.close();
    throw thrown;
  }
}

/** The tokens that the model reads for a history: bos, prefix, items, suffix. */
export function historyTokens(
  { manifest, levelTokens }: Pick<Model, 'manifest' | 'levelTokens'>,
  sids: readonly ArrayLike<number>[],
): number[] {
  const { bos, prefix = [], suffix = [] } = manifest.tokens;
  const { maxItems, order } = manifest.context;
  const recent = sids.slice(-maxItems);
  if (order === 'newestFirst') recent.reverse();
  const items = recent.flatMap((sid) => levelTokens.map((tokens, level) => tokenOf(tokens, sid[level])));
  return [...(bos === undefined ? [] : [bos]), ...prefix, ...items, ...suffix];
}

/** Decodes once over the longest context, with two beams, and returns the size of the vocabulary. */
async function probe(
  manifest: ModelManifest,
  levelTokens: readonly LevelTokens[],
  decoding: ModelDecoding,
): Promise<number> {
  const { codebookSizes } = manifest.sid;
  const zeros = new Uint32Array(codebookSizes.length);
  const longest = historyTokens(
    { manifest, levelTokens },
    Array.from({ length: manifest.context.maxItems }, () => zeros),
  );
  let logits: StepLogits;
  try {
    logits = await decoding.start(longest);
    const vocabSize = logits.vocabSize;
    refuse(manifest.name, checkVocabulary(manifest, levelTokens, vocabSize));
    checkLogits(manifest.name, logits, 1);
    for (let level = 1; level < codebookSizes.length; level++) {
      const token = tokenOf(levelTokens[level - 1], 0);
      const parents = level === 1 ? Uint32Array.of(0, 0) : Uint32Array.of(0, 1);
      logits = await decoding.advance(
        parents,
        Uint32Array.of(token, token),
        level === codebookSizes.length - 1,
      );
      checkLogits(manifest.name, logits, 2);
    }
    return vocabSize;
  } catch (thrown) {
    if (thrown instanceof EspalierError) throw thrown;
    throw new EspalierError(
      'ESP_MODEL_MISFIT',
      `model ${manifest.name}: a decode over ${longest.length} tokens of context failed: ${firstLine(thrown)}`,
      {
        cause: thrown,
        details: [{ field: 'context.maxItems', expected: 'a decode that runs', found: firstLine(thrown) }],
      },
    );
  }
}

function checkVocabulary(
  manifest: ModelManifest,
  levelTokens: readonly LevelTokens[],
  vocabSize: number,
): ErrorDetail[] {
  const { bos, eos, pad, prefix = [], suffix = [] } = manifest.tokens;
  const faults: ErrorDetail[] = [];
  const check = (field: string, token: number) => {
    if (token < vocabSize) return;
    faults.push({
      field,
      expected: `tokens below the model's vocabulary of ${vocabSize}`,
      found: String(token),
    });
  };
  for (const [field, token] of Object.entries({ bos, eos, pad })) {
    if (token !== undefined) check(`tokens.${field}`, token);
  }
  for (const token of prefix) check('tokens.prefix', token);
  for (const token of suffix) check('tokens.suffix', token);
  levelTokens.forEach((tokens, level) => {
    if ('table' in tokens) {
      check(
        `tokens.levelTokens[${level}]`,
        tokens.table.reduce((a, b) => Math.max(a, b)),
      );
    } else {
      check(`tokens.levelOffsets[${level}]`, tokens.offset + manifest.sid.codebookSizes[level] - 1);
    }
  });
  return faults;
}

function checkLogits(name: string, { data, vocabSize }: StepLogits, rows: number): void {
  if (data.length !== rows * vocabSize) {
    const expected = `${rows} rows of ${vocabSize} logits`;
    refuse(name, [{ field: 'logits', expected, found: `${data.length} numbers` }]);
  }
  const bad = data.findIndex((value) => !(value < Number.POSITIVE_INFINITY));
  if (bad >= 0) {
    throw new EspalierError(
      'ESP_MODEL_OUTPUT',
      `model ${name}: the logit of token ${bad % vocabSize} must be finite or -Infinity, found ${data[bad]}`,
      { details: [{ field: 'logits', expected: 'finite or -Infinity', found: String(data[bad]) }] },
    );
  }
}

function refuse(name: string, details: ErrorDetail[]): void {
  if (details.length === 0) return;
  const { field, expected, found } = details[0];
  const message = `model ${name} does not fit: ${field}: expected ${expected}, found ${found}`;
  throw new EspalierError('ESP_MODEL_MISFIT', message, { details });
}

function firstLine(thrown: unknown): string {
  return (thrown instanceof Error ? thrown.message : String(thrown)).split('\n')[0];
}
