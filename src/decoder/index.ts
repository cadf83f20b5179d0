export type { ModelRef, SetSnapshot } from './activation.js';
export type { DecodedBatch } from './batcher.js';
export { canonicalJson } from './canonical-json.js';
export { EngineClient } from './engine-client.js';
export { engineIsolations } from './engine-port.js';
export { type Explanation, itemOutcomes } from './explanation.js';
export { fingerprintFaults, type ModelInfo } from './model-fingerprint.js';
export type { RecommendAnswer, RecommendQuery } from './recommend-query.js';
export { serveThread, ThreadClient, tellParent } from './thread-rpc.js';
