export {
  type Config,
  type ConfigKey,
  ConfigSchema,
  configKeys,
  environmentName,
  flagName,
  loadConfig,
} from './config.js';
export { packageVersion } from './package-version.js';
export { type RunningServer, startServer } from './start.js';
