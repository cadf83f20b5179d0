import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import { type Static, Type } from 'typebox';
import { engineIsolations } from '../decoder/index.js';
import { type ErrorDetail, EspalierError } from '../errors.js';

export const REDIS_URL = /^rediss?:\/\/[^/\s]/;
const OTLP_URL = /^https?:\/\/[^/\s]/;
export const MAX_BUILD_CONCURRENCY = 8;

/**
 * The server's configuration: one schema gives types, defaults, validation and docs. An option `dataDir` is
 * `ESPALIER_DATA_DIR` in the environment and `--data-dir` on the command line; flags win over the
 * environment, the environment over the file.
 */
export const ConfigSchema = Type.Object(
  {
    dataDir: Type.String({ minLength: 1, description: 'Folder for catalogs, constraint sets and jobs.' }),
    modelsDir: Type.String({ minLength: 1, description: 'Folder of models: <name>/<version>/model.json.' }),
    host: Type.String({ minLength: 1, default: '127.0.0.1', description: 'Address to listen on.' }),
    port: Type.Integer({
      minimum: 0,
      maximum: 65_535,
      default: 8080,
      description: 'HTTP port; 0 takes a free one.',
    }),
    grpcPort: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: 65_535,
        description:
          'Port for gRPC over HTTP/2 without TLS; 0 takes a free one, and without it there is none.',
      }),
    ),
    logLevel: Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      default: 'info',
      description: 'Least severe level that is logged.',
    }),
    decodeThreads: Type.Integer({
      minimum: 1,
      maximum: 64,
      default: 1,
      description: 'Threads that one model run may use.',
    }),
    stepThreads: Type.Integer({
      minimum: 1,
      maximum: 64,
      default: 1,
      description: 'Threads that one decode step (the constraint) may use.',
    }),
    decodeEngines: Type.Integer({
      minimum: 0,
      maximum: 64,
      default: 0,
      description: 'Engines that decode side by side; 0: one for every two cores that decodeThreads leaves.',
    }),
    decodeIsolation: Type.Enum([...engineIsolations], {
      default: 'thread',
      description:
        'Where engines run: on threads, or in processes that contain the crashes and hangs of a model.',
    }),
    decodeHangTimeoutMs: Type.Integer({
      minimum: 100,
      maximum: 3_600_000,
      default: 60_000,
      description: 'An engine in a process of its own is replaced when a batch takes so long.',
    }),
    modelOpenTimeoutMs: Type.Integer({
      minimum: 100,
      maximum: 3_600_000,
      default: 300_000,
      description: 'A model that takes longer to open, to be checked and measured is refused.',
    }),
    maxBatchRows: Type.Integer({
      minimum: 1,
      maximum: 65_536,
      default: 1_024,
      description:
        'Most rows (requests times the widest beam) that decode together; lowered to what gains throughput here, measured at start.',
    }),
    maxBatchWaitMs: Type.Number({
      minimum: 0,
      maximum: 1_000,
      default: 2,
      description: 'Longest wait for others to decode with; nobody waits for an idle engine.',
    }),
    prefillCacheBytes: Type.Integer({
      minimum: 0,
      maximum: 1_099_511_627_776,
      default: 268_435_456,
      description:
        'Memory for what models have made of histories, so that one that comes again is not read again.',
    }),
    decodeQueueLimit: Type.Integer({
      minimum: 1,
      maximum: 100_000,
      default: 256,
      description: 'Requests that may wait for a decode; further ones get 503.',
    }),
    bulkConcurrency: Type.Integer({
      minimum: 1,
      maximum: 1_024,
      default: 32,
      description:
        'Requests of bulk streams, all together, that decode at a time; never more than half of decodeQueueLimit.',
    }),
    bulkChunkRequests: Type.Integer({
      minimum: 1,
      maximum: 1_000_000,
      default: 2_000,
      description: 'Lines of a bulk job that one build process answers, and that a kill may cost.',
    }),
    keepBulkOutputs: Type.Integer({
      minimum: 1,
      maximum: 1_000,
      default: 20,
      description: 'Outputs of bulk jobs that are kept; the oldest go.',
    }),
    requestTimeoutMs: Type.Integer({
      minimum: 1,
      maximum: 600_000,
      default: 10_000,
      description: "A recommend request's time where it names no timeoutMs.",
    }),
    recheckShare: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 0.01,
      description: 'Of the answers, which are looked at again after they were sent, item by item; 0: none.',
    }),
    slowRequestMs: Type.Integer({
      minimum: 0,
      maximum: 600_000,
      default: 1_000,
      description: 'A recommend request that takes so long is logged as a warning; 0: none is.',
    }),
    otlpUrl: Type.Optional(
      Type.String({
        pattern: OTLP_URL.source,
        description:
          'Where traces go (OTLP over HTTP), as http://host:4318/v1/traces; without it there are none.',
      }),
    ),
    traceShare: Type.Number({
      minimum: 0,
      maximum: 1,
      default: 1,
      description: 'Of the requests that come without a trace of their own, which are traced.',
    }),
    shutdownGraceMs: Type.Integer({
      minimum: 0,
      maximum: 600_000,
      default: 10_000,
      description: 'Time that requests in flight get to finish after SIGTERM.',
    }),
    drainDelayMs: Type.Integer({
      minimum: 0,
      maximum: 600_000,
      default: 0,
      description:
        'Time after SIGTERM in which /readyz says no while requests are still taken, for load balancers to notice.',
    }),
    maxConnections: Type.Integer({
      minimum: 1,
      maximum: 1_000_000,
      default: 10_000,
      description: 'Open HTTP connections; further ones are closed at once.',
    }),
    headersTimeoutMs: Type.Integer({
      minimum: 100,
      maximum: 600_000,
      default: 10_000,
      description: "Time that a request's headers may take to come.",
    }),
    bodyTimeoutMs: Type.Integer({
      minimum: 100,
      maximum: 600_000,
      default: 30_000,
      description: 'Time that a body may take to come, unless it is an upload or a bulk stream.',
    }),
    keepAliveTimeoutMs: Type.Integer({
      minimum: 1,
      maximum: 3_600_000,
      default: 72_000,
      description:
        'A connection without requests is closed after so long; longer than load balancers keep theirs.',
    }),
    maxEventStreams: Type.Integer({
      minimum: 1,
      maximum: 100_000,
      default: 256,
      description: 'Streams of job events at a time; further ones get 503.',
    }),
    maxUploads: Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 16,
      description: 'Uploads that are received at a time; further ones get 503.',
    }),
    maxUnfinishedJobs: Type.Integer({
      minimum: 1,
      maximum: 100_000,
      default: 256,
      description: 'Jobs that wait or run; further ones get 503.',
    }),
    maxEventLoopDelayMs: Type.Integer({
      minimum: 0,
      maximum: 600_000,
      default: 1_000,
      description: 'Recommends and uploads get 503 while the HTTP thread falls behind by more; 0: never.',
    }),
    uploadIdleTimeoutMs: Type.Integer({
      minimum: 100,
      maximum: 600_000,
      default: 30_000,
      description: 'An upload ends when nothing comes for so long.',
    }),
    uploadMinBytesPerSecond: Type.Integer({
      minimum: 0,
      maximum: 1_000_000_000,
      default: 1_000,
      description: 'An upload ends when fewer come, on average over uploadIdleTimeoutMs; 0: any number.',
    }),
    bodyLimitBytes: Type.Integer({
      minimum: 1_024,
      maximum: 67_108_864,
      default: 1_048_576,
      description: 'Largest JSON body.',
    }),
    uploadLimitBytes: Type.Integer({
      minimum: 1_024,
      maximum: 1_099_511_627_776,
      default: 4_294_967_296,
      description: 'Largest upload of items, as it comes and unpacked.',
    }),
    keepVersions: Type.Integer({
      minimum: 1,
      maximum: 10_000,
      default: 10,
      description:
        'Versions of a catalog and of a constraint set that are kept, beside the active one and the one before it.',
    }),
    redisUrl: Type.Optional(
      Type.String({
        pattern: REDIS_URL.source,
        description: 'Redis that shares builds with espalier worker processes, as redis://host:6379.',
      }),
    ),
    buildConcurrency: Type.Integer({
      minimum: 0,
      maximum: MAX_BUILD_CONCURRENCY,
      default: 1,
      description: 'Builds that this server runs at a time; 0: only espalier worker processes build.',
    }),
    allowUnauthenticated: Type.Boolean({
      default: false,
      description:
        'Serves other machines even without API keys: anyone who reaches it may change everything.',
    }),
    openMetrics: Type.Boolean({ default: false, description: 'Answers /metrics without an API key.' }),
    rateLimitPerMinute: Type.Integer({
      minimum: 0,
      maximum: 1_000_000_000,
      default: 0,
      description:
        'Recommend requests that an API key, or an address without one, may send in a minute; 0: any.',
    }),
    writeRateLimitPerMinute: Type.Integer({
      minimum: 0,
      maximum: 1_000_000_000,
      default: 0,
      description: 'The same for changes; 0: any.',
    }),
  },
  { additionalProperties: false },
);
export type Config = Readonly<Static<typeof ConfigSchema>>;
export type ConfigKey = keyof Config;

/** The configuration as it may be printed and logged: without passwords. */
export function redactConfig(config: Config): Config {
  const { redisUrl, otlpUrl } = config;
  return {
    ...config,
    ...(redisUrl !== undefined && { redisUrl: redactUrl(redisUrl) }),
    ...(otlpUrl !== undefined && { otlpUrl: redactUrl(otlpUrl) }),
  };
}

/** A URL without its user and password; what is not a URL might be a password as a whole. */
export function redactUrl(url: string): string {
  if (!URL.canParse(url)) return '(not a URL)';
  const { protocol, host, pathname } = new URL(url);
  return url.includes('@') ? `${protocol}//***@${host}${pathname}` : url;
}

export const configKeys = Object.keys(ConfigSchema.properties) as ConfigKey[];

/** Variables that other parts read; any further ESPALIER_… is taken for a typing error. */
const OTHER_VARIABLES = ['ESPALIER_KERNELS', 'ESPALIER_CUDA_LIBRARY'];

/** Whether an option is on by its flag alone, as `--open-metrics`. */
export function isSwitch(key: ConfigKey): boolean {
  return (ConfigSchema.properties[key] as { type?: string }).type === 'boolean';
}

/** `dataDir` → `data-dir`. */
export function flagName(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `dataDir` → `ESPALIER_DATA_DIR`. */
export function environmentName(key: string): string {
  return `ESPALIER_${flagName(key).replaceAll('-', '_').toUpperCase()}`;
}

/**
 * Merges file < environment < flags, validates the whole, and freezes it.
 * @param flags by option name, as text.
 * @throws EspalierError ESP_CONFIG_INVALID with every fault and where it came from.
 */
export function loadConfig(
  flags: Readonly<Record<string, string>>,
  environment: Readonly<Record<string, string | undefined>>,
  file?: string,
): Config {
  const values: Record<string, unknown> = {};
  const sources: Record<string, string> = {};
  const put = (key: string, value: unknown, source: string) => {
    values[key] = value;
    sources[key] = source;
  };
  for (const [key, { default: value }] of Object.entries(ConfigSchema.properties) as [
    string,
    { default?: unknown },
  ][]) {
    if (value !== undefined) put(key, value, 'default');
  }
  const faults: ErrorDetail[] = [];
  if (file !== undefined) {
    for (const [key, value] of Object.entries(readConfigFile(file))) put(key, value, file);
  }
  const known = new Set([...configKeys.map(environmentName), ...OTHER_VARIABLES]);
  for (const name of Object.keys(environment)) {
    if (name.startsWith('ESPALIER_') && !known.has(name)) {
      faults.push({ field: name, expected: `one of ${[...known].join(', ')}`, found: name });
    }
  }
  for (const key of configKeys) {
    const text = environment[environmentName(key)];
    if (text !== undefined) put(key, fromText(key, text), environmentName(key));
  }
  for (const [key, text] of Object.entries(flags)) put(key, fromText(key, text), `--${flagName(key)}`);

  const validate = new Ajv({ allErrors: true, validateSchema: false, meta: false }).compile(ConfigSchema);
  validate(values);
  for (const { keyword, params, instancePath, message } of validate.errors ?? []) {
    const key = instancePath.slice(1);
    if (keyword === 'required') {
      const name: string = params.missingProperty;
      const field = `--${flagName(name)}`;
      faults.push({ field, expected: `a value, here or as ${environmentName(name)}`, found: 'nothing' });
    } else if (keyword === 'additionalProperties') {
      const name: string = params.additionalProperty;
      const field = `${sources[name]}: ${name}`;
      faults.push({ field, expected: `one of ${configKeys.join(', ')}`, found: name });
    } else {
      const field = `${sources[key]}: ${key}`;
      faults.push({ field, expected: expectedText(key, message!), found: foundText(key, values[key]) });
    }
  }
  if (values.buildConcurrency === 0 && values.redisUrl === undefined) {
    const field = `${sources.buildConcurrency}: buildConcurrency`;
    faults.push({ field, expected: 'at least 1 where there is no redisUrl, or nobody builds', found: '0' });
  }
  if (faults.length > 0) {
    const lines = faults.map(
      ({ field, expected, found }) => `${field}: expected ${expected}, found ${found}`,
    );
    throw new EspalierError('ESP_CONFIG_INVALID', lines.join('\n'), { details: faults });
  }
  return Object.freeze(values) as Config;
}

function readConfigFile(path: string): Record<string, unknown> {
  try {
    const json: unknown = JSON.parse(readFileSync(path, 'utf8'));
    if (typeof json === 'object' && json !== null && !Array.isArray(json)) return { ...json };
    throw new Error('expected one JSON object');
  } catch (cause) {
    throw new EspalierError('ESP_CONFIG_INVALID', `--config ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** Environment and flags are text; numbers are read strictly, so that "80 80" stays text and is refused. */
function fromText(key: string, text: string): unknown {
  const schema = ConfigSchema.properties[key as ConfigKey] as { type?: string } | undefined;
  if (schema?.type === 'integer' && /^-?\d+$/.test(text)) return Number(text);
  if (schema?.type === 'boolean' && /^(true|false)$/.test(text)) return text === 'true';
  return schema?.type === 'number' && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
}

function expectedText(key: string, message: string): string {
  if (key === 'redisUrl') return 'a URL such as redis://host:6379';
  if (key === 'otlpUrl') return 'a URL such as http://host:4318/v1/traces';
  const schema = ConfigSchema.properties[key as ConfigKey] as {
    type?: string;
    enum?: string[];
    minimum?: number;
    maximum?: number;
  };
  if (schema?.type === 'boolean') return 'true or false';
  if (schema?.enum !== undefined) return `one of ${schema.enum.join(', ')}`;
  if (schema?.minimum !== undefined) {
    const kind = schema.type === 'integer' ? 'an integer' : 'a number';
    return `${kind} from ${schema.minimum} to ${schema.maximum}`;
  }
  return message;
}

function foundText(key: string, value: unknown): string {
  const isUrl = key === 'redisUrl' || key === 'otlpUrl';
  return JSON.stringify(isUrl && typeof value === 'string' ? redactUrl(value) : value);
}
