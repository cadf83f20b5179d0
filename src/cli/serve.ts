import { parseArgs } from 'node:util';
import { configKeys, flagName, isSwitch, loadConfig, redactConfig, startServer } from '../server/index.js';
import { untilSignal } from './until-signal.js';
import { usage } from './usage.js';
import { UsageError } from './usage-error.js';

/** For what follows requests at a stop: handing back jobs, and ending threads. */
const STOP_BOUND_MS = 15_000;

/** `espalier serve`: runs until SIGINT or SIGTERM. */
export async function serve(args: string[]): Promise<number> {
  const { flags, configFile, checkOnly, help } = parseFlags(args);
  if (help) {
    console.log(usage());
    return 0;
  }
  const config = loadConfig(flags, process.env, configFile);
  if (checkOnly) {
    console.log(JSON.stringify(redactConfig(config), null, 2));
    return 0;
  }
  const server = await startServer(config);
  if (server.grpcUrl !== undefined) console.error(`Espalier serves gRPC on ${server.grpcUrl}`);
  console.error(`Espalier listens on ${server.url} (docs: ${server.url}/docs)`);
  return untilSignal(server, config.drainDelayMs + config.shutdownGraceMs + STOP_BOUND_MS);
}

function parseFlags(args: string[]) {
  const options: Record<string, { type: 'string' | 'boolean' }> = {
    config: { type: 'string' },
    'check-config': { type: 'boolean' },
    help: { type: 'boolean' },
  };
  for (const key of configKeys) options[flagName(key)] = { type: isSwitch(key) ? 'boolean' : 'string' };
  let values: Record<string, string | boolean | undefined>;
  try {
    values = parseArgs({ args, options, strict: true, allowPositionals: false }).values as typeof values;
  } catch (thrown) {
    throw new UsageError((thrown as Error).message);
  }
  const flags: Record<string, string> = {};
  for (const key of configKeys) {
    const value = values[flagName(key)];
    if (value !== undefined) flags[key] = String(value);
  }
  return {
    flags,
    configFile: values.config as string | undefined,
    checkOnly: values['check-config'] === true,
    help: values.help === true,
  };
}
