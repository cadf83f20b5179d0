export {
  type Config,
  type ConfigKey,
  ConfigSchema,
  configKeys,
  environmentName,
  flagName,
  loadConfig,
  MAX_BUILD_CONCURRENCY,
  REDIS_URL,
  redactConfig,
} from './config.js';
export { packageVersion } from './package-version.js';
export { type RunningServer, startServer } from './start.js';
export { type RunningWorker, startWorker, type WorkerConfig } from './start-worker.js';
