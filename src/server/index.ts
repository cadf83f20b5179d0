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
export { type RunningServer, startServer } from './start.js';
export { type RunningWorker, startWorker, type WorkerConfig } from './start-worker.js';
