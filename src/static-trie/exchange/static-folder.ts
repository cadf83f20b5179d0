import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { syncFolder, writeFailure } from '../durable-file.js';
import { arrayFault, type NpyArray, openNpy, writeNpy } from './npy.js';
import type { DenseLookupLayers, StaticCsr } from './static-csr.js';

/** The names under which the reference's arrays are kept. */
const FILES = [
  'packed_csr.npy',
  'indptr.npy',
  'layer_max_branches.npy',
  'start_mask.npy',
  'dense_mask.npy',
  'dense_states.npy',
] as const;

/** Writes the six files. They are all written in full before the first one gets its name. */
export function writeStaticFolder(folder: string, csr: StaticCsr): void {
  const isNew = !existsSync(folder);
  const staging = join(folder, `.export.${process.pid}.tmp`);
  try {
    mkdirSync(staging, { recursive: true });
  } catch (thrown) {
    throw writeFailure(folder, thrown);
  }
  try {
    writeFiles(staging, csr);
    for (const file of FILES) renameSync(join(staging, file), join(folder, file));
  } catch (thrown) {
    rmSync(isNew ? folder : staging, { recursive: true, force: true });
    throw writeFailure(folder, thrown);
  }
  rmSync(staging, { recursive: true, force: true });
  syncFolder(folder);
}

function writeFiles(folder: string, csr: StaticCsr): void {
  const { vocabSize, denseLookupLayers, packedCsr, indptr, layerMaxBranches } = csr;
  const denseShape = new Array<number>(denseLookupLayers).fill(vocabSize);
  const branches = BigInt64Array.from(layerMaxBranches, BigInt);
  writeNpy(join(folder, 'packed_csr.npy'), 'int32', [packedCsr.length / 2, 2], packedCsr);
  writeNpy(join(folder, 'indptr.npy'), 'int32', [indptr.length], indptr);
  writeNpy(join(folder, 'layer_max_branches.npy'), 'int64', [branches.length], branches);
  writeNpy(join(folder, 'start_mask.npy'), 'bool', [vocabSize], csr.startMask);
  writeNpy(join(folder, 'dense_mask.npy'), 'bool', denseShape, csr.denseMask);
  writeNpy(join(folder, 'dense_states.npy'), 'int32', denseShape, csr.denseStates);
}

/**
 * The six arrays, each with its type and shape checked; what is in them is for importStatic to check. int64 is
 * taken for int32, because NumPy before version 2 makes indptr one.
 * @throws EspalierError ESP_ARRAY_FILE
 */
export function readStaticFolder(folder: string): StaticCsr {
  const read = <Value>(file: (typeof FILES)[number], use: (array: NpyArray) => Value): Value => {
    const array = openNpy(join(folder, file));
    try {
      return use(array);
    } finally {
      array.close();
    }
  };
  const startMask = read('start_mask.npy', (array) => {
    expectShape(array, [undefined]);
    return takeMask(array);
  });
  const vocabSize = startMask.length;
  const dense = read('dense_mask.npy', (array) => {
    const layers = array.shape.length === 2 ? 2 : 1;
    expectShape(array, new Array<number>(layers).fill(vocabSize));
    return { denseLookupLayers: layers satisfies DenseLookupLayers, denseMask: takeMask(array) } as const;
  });
  const integers = (file: (typeof FILES)[number], shape: (number | undefined)[]) =>
    read(file, (array) => {
      expectShape(array, shape);
      return takeInt32(array);
    });
  const denseShape = new Array<number>(dense.denseLookupLayers).fill(vocabSize);
  return {
    vocabSize,
    ...dense,
    startMask,
    packedCsr: integers('packed_csr.npy', [undefined, 2]),
    indptr: integers('indptr.npy', [undefined]),
    layerMaxBranches: Array.from(integers('layer_max_branches.npy', [undefined])),
    denseStates: integers('dense_states.npy', denseShape),
  };
}

/** `undefined` stands for any size. */
function expectShape({ name, shape }: NpyArray, expected: readonly (number | undefined)[]): void {
  const fits =
    shape.length === expected.length && expected.every((size, axis) => (size ?? shape[axis]) === shape[axis]);
  if (fits) return;
  const wanted = expected.map((size) => size ?? 'any').join(', ');
  throw arrayFault(name, `shape (${wanted})`, `(${shape.join(', ')})`);
}

function takeMask(array: NpyArray): Uint8Array {
  if (array.dtype !== 'bool') throw arrayFault(array.name, 'bool', array.dtype);
  return array.take('bool');
}

function takeInt32(array: NpyArray): Int32Array {
  const { name, dtype, length } = array;
  if (dtype === 'int32') return array.take('int32');
  if (dtype !== 'int64') throw arrayFault(name, 'int32 or int64', dtype);
  const values = new Int32Array(length);
  let at = 0;
  for (const piece of array.pieces('int64')) {
    const words = new Int32Array(piece.buffer, piece.byteOffset, piece.length * 2);
    for (let index = 0; index < piece.length; index++, at++) {
      values[at] = words[2 * index];
      // The high word of what fits int32 repeats its sign.
      if (words[2 * index + 1] !== values[at] >> 31) {
        throw arrayFault(`${name}: entry ${at}`, 'a value that fits int32', `${piece[index]}`);
      }
    }
  }
  return values;
}
