export type { ServedCatalog, ServedSet } from './catalogs/served-catalog.js';
export {
  type Config,
  type ConfigKey,
  ConfigSchema,
  configKeys,
  environmentName,
  flagName,
  isSwitch,
  loadConfig,
  MAX_BUILD_CONCURRENCY,
  REDIS_URL,
  redactConfig,
} from './config.js';
export { MAX_BEAM_WIDTH } from './http/schemas/common.js';
export { ModelStore } from './model-store.js';
export { packageVersion } from './package-version.js';
export { type KeyRecord, type Scope, scopes } from './security/api-keys.js';
export { AuditLog } from './security/audit-log.js';
export { createKey, KEY_NAME, readKeyFile, revokeKey } from './security/key-file.js';
export type { RunningServer } from './start.js';
export type { RunningWorker, WorkerConfig } from './start-worker.js';

// Whoever asks for help or makes a key does not wait for the web libraries and the model runtime.
/** @see ./start.ts */
export const startServer: typeof import('./start.js').startServer = async (config) =>
  (await import('./start.js')).startServer(config);
/** @see ./start-worker.ts */
export const startWorker: typeof import('./start-worker.js').startWorker = async (config) =>
  (await import('./start-worker.js')).startWorker(config);
/** @see ./catalogs/served-catalog.ts */
export const readServedCatalog = async (dataDir: string, name?: string) =>
  (await import('./catalogs/served-catalog.js')).readServedCatalog(dataDir, name);
/** @see ./recommend/request-file.ts */
export const readRequestFile: typeof import('./recommend/request-file.js').readRequestFile = async (
  ...args
) => (await import('./recommend/request-file.js')).readRequestFile(...args);
/** @see ./recommend/to-query.ts */
export const toQuery = async (...args: Parameters<typeof import('./recommend/to-query.js').toQuery>) =>
  (await import('./recommend/to-query.js')).toQuery(...args);
