import { ConfigSchema, MAX_BUILD_CONCURRENCY, REDIS_URL, startWorker } from '../server/index.js';
import { Options } from './options.js';
import { untilSignal } from './until-signal.js';

const STOP_BOUND_MS = 15_000;

export const workerHelp = `Usage: espalier worker --data-dir D --redis-url URL [--models-dir M] [--build-concurrency N] [--log-level LEVEL]

Builds what is uploaded to the server that uses the same data directory and the same Redis, and answers its bulk jobs.
Any number of workers may run beside it, on other machines too. SIGTERM hands back what the worker is at; others begin
it again.

  --data-dir           The server's data directory, wherever it is mounted here. [ESPALIER_DATA_DIR]
  --models-dir         The server's models, wherever they are mounted here. Without them the worker leaves bulk jobs to
                       workers that have them; where none has, they wait. [ESPALIER_MODELS_DIR]
  --redis-url          The server's Redis, as redis://host:6379. [ESPALIER_REDIS_URL]
  --build-concurrency  Builds at a time. (default: 1) [ESPALIER_BUILD_CONCURRENCY]
  --log-level          Least severe level that is logged. (default: info) [ESPALIER_LOG_LEVEL]`;

/** `espalier worker`: runs until SIGINT or SIGTERM. */
export async function worker(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: workerHelp,
    values: ['data-dir', 'models-dir', 'redis-url', 'build-concurrency', 'log-level'],
    switches: ['help'],
    positionals: [],
  });
  if (options.isOn('help')) {
    console.log(workerHelp);
    return 0;
  }
  const redisUrl = options.required('redis-url');
  if (!REDIS_URL.test(redisUrl) || !URL.canParse(redisUrl)) {
    // What came may hold a password.
    throw options.wrong('--redis-url: expected a URL such as redis://host:6379, found something else');
  }
  const modelsDir = options.text('models-dir');
  const running = await startWorker({
    ...(modelsDir !== undefined && { modelsDir }),
    dataDir: options.required('data-dir'),
    redisUrl,
    concurrency: options.optionalInteger('build-concurrency', 1, MAX_BUILD_CONCURRENCY) ?? 1,
    logLevel:
      options.text('log-level') === undefined
        ? 'info'
        : options.oneOf('log-level', ConfigSchema.properties.logLevel.enum),
  });
  console.error('Espalier worker is ready');
  return untilSignal(running, STOP_BOUND_MS);
}
