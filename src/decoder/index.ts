export type { ModelRef, SetSnapshot } from './activation.js';
export { EngineClient } from './engine-client.js';
export type { RecommendAnswer, RecommendQuery } from './recommend.js';
export { serveThread, ThreadClient, tellParent } from './thread-rpc.js';
