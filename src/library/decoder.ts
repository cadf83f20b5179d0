/** Models on ONNX Runtime, and exact beam search over a static trie. A model run blocks the thread it is called on. */
export {
  type Decoded,
  type DecodeInput,
  Decoder,
  historyTokens,
  type Model,
  type ModelManifest,
  openModel,
  type Prefill,
} from '../decoder/index.js';
export { type ErrorCode, type ErrorDetail, EspalierError, errorCatalogue } from '../errors.js';
export {
  chooseKernel,
  createJsKernel,
  type Kernel,
  type LevelTokens,
  type Normalization,
  normalizations,
  StepBatch,
  type StepInput,
  type StepRequest,
  usableLevels,
} from '../kernels/index.js';
