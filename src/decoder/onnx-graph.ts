import { InferenceSession, Tensor } from 'onnxruntime-node';
import { freeMemory } from './free-memory.js';

/** The only file that knows onnxruntime-node. */

export interface TensorShape {
  name: string;
  type: string;
  /** A number where the graph fixes the dimension, its symbolic name where it doesn't. */
  shape: readonly (number | string)[];
}

export type TensorData = Float32Array | BigInt64Array;

/** A tensor by its data and dimensions; float32 and int64 by the data's class. */
export interface TensorValue<Data extends TensorData = TensorData> {
  data: Data;
  dims: readonly number[];
}

/** An ONNX graph, ready to run. */
export interface OnnxGraph {
  inputs: readonly TensorShape[];
  outputs: readonly TensorShape[];
  /**
   * Runs the graph on this thread, which is blocked meanwhile.
   * @param inputs borrowed for the call.
   * @param outputs what to fetch: null for memory of its own, or the tensor to write into, whose dimensions must
   * be those that the graph computes. (onnxruntime-node 1.30 copies each output once more; that copy is freed.)
   * @returns the outputs, in their order.
   */
  run(
    inputs: ReadonlyMap<string, TensorValue>,
    outputs: ReadonlyMap<string, TensorValue<Float32Array> | null>,
  ): Promise<Map<string, TensorValue<Float32Array>>>;
  close(): Promise<void>;
}

/** @param threads threads that one run may use. */
export async function openOnnxGraph(path: string, threads: number): Promise<OnnxGraph> {
  const session = await InferenceSession.create(path, {
    executionProviders: ['cpu'],
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    // A spinning pool would take the cores from the other engines and from the HTTP thread.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
    logSeverityLevel: 3,
  });
  return {
    inputs: shapesOf(session.inputMetadata),
    outputs: shapesOf(session.outputMetadata),
    async run(inputs, outputs) {
      const feeds: Record<string, Tensor> = {};
      for (const [name, value] of inputs) feeds[name] = tensorOf(value);
      const fetches: Record<string, Tensor | null> = {};
      for (const [name, value] of outputs) fetches[name] = value === null ? null : tensorOf(value);
      const results = await session.run(feeds, fetches);
      const values = new Map<string, TensorValue<Float32Array>>();
      for (const [name, given] of outputs) {
        const { data, dims } = results[name] as TensorValue<Float32Array>;
        values.set(name, given ?? { data, dims });
        if (given !== null && data.buffer !== given.data.buffer) freeMemory(data);
      }
      return values;
    },
    close: () => session.release(),
  };
}

function tensorOf({ data, dims }: TensorValue): Tensor {
  return data instanceof BigInt64Array ? new Tensor('int64', data, dims) : new Tensor('float32', data, dims);
}

function shapesOf(metadata: readonly InferenceSession.ValueMetadata[]): TensorShape[] {
  return metadata.map((value) => {
    if (value.isTensor) return { name: value.name, type: value.type, shape: value.shape };
    return { name: value.name, type: 'not a tensor', shape: [] };
  });
}
