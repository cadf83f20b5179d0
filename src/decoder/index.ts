export type { CatalogActivation, ModelRef, SetSnapshot } from './activation.js';
export type { ModelInfo } from './engine.js';
export { EngineClient, type EngineOptions } from './engine-client.js';
export {
  type ModelManifest,
  ModelManifestSchema,
  parseModelManifest,
  readModelManifest,
} from './model-manifest.js';
export type { RecommendAnswer, RecommendQuery, ShortfallCode } from './recommend.js';
export { serveThread, ThreadClient, type ThreadHandlers, tellParent } from './thread-rpc.js';
