import { join } from 'node:path';
import { EspalierError } from '../errors.js';
import type { LevelTokens } from '../kernels/index.js';
import type { Contract, ModelDecoding, ModelRunner, Prefill } from './contracts/contract.js';
import { contracts } from './contracts/contracts.js';
import { firstLine, refuseMisfit } from './model-faults.js';
import { levelTokensOf, type ModelManifest, readModelManifest } from './model-manifest.js';
import { type ProbeResult, probe } from './model-probe.js';
import { type OnnxGraph, openOnnxGraph } from './onnx-graph.js';
import { Turns } from './turns.js';

/**
 * A model that was opened, checked against its contract, and tried once. It uses its memory again from run to run, so
 * that one decode at a time may use it, from `prefill` to the last step: `inTurn` sees to that. A `Decoder` takes its
 * turns by itself; who calls `prefill` and `begin` does so in a turn, or is the only one.
 */
export interface Model extends ModelRunner {
  manifest: ModelManifest;
  levelTokens: readonly LevelTokens[];
  vocabSize: number;
  /** Whether requests whose histories differ in length may decode in one batch: measured when it was opened. */
  batchesRagged: boolean;
  /**
   * Reads histories.
   * @param histories each at least one token. @see historyTokens
   */
  prefill(histories: readonly (readonly number[])[]): Promise<Prefill[]>;
  /** @param prefills of this model; of equal `length` unless `batchesRagged`. A prefill may come twice. */
  begin(prefills: readonly Prefill[]): ModelDecoding;
  /**
   * Runs a whole decode when those that came before have ended, whether they failed or not. Turns don't nest: one inside
   * another would wait for itself.
   */
  inTurn<Result>(decode: () => Promise<Result>): Promise<Result>;
  /** Frees its memory, behind the turns that were taken before; a model that is closed reads and decodes no more. */
  close(): Promise<void>;
}

/**
 * Opens the model in `folder` and makes sure that it fits: names, types and shapes of inputs and outputs, the
 * vocabulary, and one decode over the longest context that the manifest allows.
 * @param threads threads that one run may use.
 * @param probed what trying it has told before, of these very files: it is not tried again.
 * @throws EspalierError ESP_MODEL_NOT_FOUND, ESP_MODEL_MANIFEST, ESP_MODEL_MISFIT, ESP_MODEL_OUTPUT
 */
export async function openModel(folder: string, threads: number, probed?: ProbeResult): Promise<Model> {
  const manifest = readModelManifest(folder);
  const graphs: Record<string, OnnxGraph> = {};
  const close = async () => {
    for (const graph of Object.values(graphs)) await graph.close();
  };
  try {
    for (const [name, file] of Object.entries(manifest.files)) {
      graphs[name] = await openGraph(manifest, name, join(folder, file), threads);
    }
    const contract: Contract = contracts[manifest.contract];
    refuseMisfit(manifest.name, contract.check(graphs));
    const runner = contract.open(graphs, manifest.tokens);
    const levelTokens = levelTokensOf(manifest);
    const { vocabSize, batchesRagged } = probed ?? (await probe(manifest, levelTokens, runner));
    const turns = new Turns();
    let isClosed = false;
    let closing: Promise<void> | undefined;
    const checkOpen = () => {
      if (isClosed) throw new EspalierError('ESP_MODEL_NOT_FOUND', `model ${manifest.name} has been closed`);
    };
    return {
      manifest,
      levelTokens,
      vocabSize,
      batchesRagged,
      async prefill(histories) {
        checkOpen();
        return runner.prefill(histories);
      },
      begin(prefills) {
        checkOpen();
        if (!batchesRagged && prefills.some(({ length }) => length !== prefills[0].length)) {
          const lengths = prefills.map(({ length }) => length).join(', ');
          const message = `model ${manifest.name} decodes histories of equal length together: found ${lengths} tokens`;
          throw new EspalierError('ESP_SHAPE', message);
        }
        return runner.begin(prefills);
      },
      inTurn: (decode) => turns.take(decode),
      close() {
        closing ??= turns.take(() => {
          isClosed = true;
          return close();
        });
        return closing;
      },
    };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}

async function openGraph(
  manifest: ModelManifest,
  name: string,
  path: string,
  threads: number,
): Promise<OnnxGraph> {
  try {
    return await openOnnxGraph(path, threads);
  } catch (cause) {
    const file = manifest.files[name];
    // ONNX Runtime names the whole path, which is nobody's business outside.
    const found = firstLine(cause).replaceAll(path.slice(0, -file.length), '');
    throw new EspalierError('ESP_MODEL_MISFIT', `model ${manifest.name}: ${file} does not load as ONNX`, {
      cause,
      details: [{ field: `files.${name}`, expected: 'a readable ONNX file', found }],
    });
  }
}
