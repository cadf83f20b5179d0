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
