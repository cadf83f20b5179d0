export type { ModelRef, SetSnapshot } from './activation.js';
export { canonicalJson } from './canonical-json.js';
export { EngineClient } from './engine-client.js';
export { stampFolder } from './folder-stamp.js';
export { fingerprintFaults, type ModelInfo } from './model-fingerprint.js';
export type { RecommendAnswer, RecommendQuery } from './recommend.js';
export { serveThread, ThreadClient, tellParent } from './thread-rpc.js';
