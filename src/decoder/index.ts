export type {
  ActivationChanges,
  AppliedChanges,
  CatalogActivation,
  ModelRef,
  SetSnapshot,
} from './activation.js';
export type { DecodedBatch } from './batcher.js';
export { canonicalJson } from './canonical-json.js';
export type { Prefill } from './contracts/contract.js';
export type { DecodeInput } from './decode-input.js';
export { type Decoded, Decoder } from './decoder.js';
export { EngineClient } from './engine-client.js';
export { engineIsolations } from './engine-port.js';
export { type Explanation, itemOutcomes } from './explanation.js';
export { stampFolder } from './folder-stamp.js';
export { historyTokens } from './history-tokens.js';
export { type Model, openModel } from './model.js';
export { fingerprintFaults, type ModelInfo } from './model-fingerprint.js';
export { type ModelManifest, readModelManifest } from './model-manifest.js';
export { monotonicMs } from './monotonic-ms.js';
export { ProcessClient, serveProcess, tellParentProcess } from './process-rpc.js';
export { type Recheck, type ViolationKind, violationKinds } from './recheck.js';
export {
  type QueryConstraint,
  type RecommendAnswer,
  type RecommendQuery,
  type ShortfallCode,
  shortfallCodes,
  type Timings,
} from './recommend-query.js';
export type { CallHandlers } from './rpc.js';
export { serveThread, ThreadClient } from './thread-rpc.js';
