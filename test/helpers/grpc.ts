import {
  type ClientOptions,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceError,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

// biome-ignore lint/suspicious/noExplicitAny: the client is made of the .proto files when the test runs.
type Dynamic = any;

const proto = new URL('../../proto', import.meta.url).pathname;

/** An independent client: it reads the .proto files, and knows nothing of the code generated from them. */
export const definition = loadSync(
  [
    'espalier/v1/recommendation.proto',
    'espalier/v1/catalogs.proto',
    'espalier/v1/constraint_sets.proto',
    'espalier/v1/jobs.proto',
    'espalier/v1/errors.proto',
    'grpc/health/v1/health.proto',
  ],
  { includeDirs: [proto], longs: Number, enums: String, oneofs: true },
);
const packages = loadPackageDefinition(definition) as Dynamic;

export type ServiceName = 'RecommendationService' | 'CatalogService' | 'ConstraintSetService' | 'JobService';

export interface GrpcError {
  /** gRPC's code. */
  status: number;
  message: string;
  /** Our error, where there is one in the details. */
  info?: { code: string; message: string; details: Record<string, unknown>[]; retryAfterSeconds?: number };
  metadata: Metadata;
}

export function grpcClient(address: string, service: ServiceName, options: ClientOptions = {}): Dynamic {
  return new packages.espalier.v1[service](address, credentials.createInsecure(), options);
}

export function healthClient(address: string): Dynamic {
  return new packages.grpc.health.v1.Health(address, credentials.createInsecure());
}

export interface Reply {
  value?: Dynamic;
  error?: GrpcError;
  metadata?: Metadata;
}

/** Calls a unary method; answers and errors alike are values. */
export function call(
  client: Dynamic,
  method: string,
  request: object,
  { metadata = {}, deadline }: { metadata?: Record<string, string>; deadline?: number } = {},
): Promise<Reply> {
  const sent = metadataOf(metadata);
  return new Promise((resolve) => {
    let initial: Metadata | undefined;
    const done = (error: ServiceError | null, value: Dynamic) =>
      resolve({
        ...(error ? { error: errorOf(error) } : { value: plain(value) }),
        ...(initial && { metadata: initial }),
      });
    const options = deadline === undefined ? {} : { deadline };
    client[method](request, sent, options, done).on('metadata', (got: Metadata) => {
      initial = got;
    });
  });
}

export function metadataOf(entries: Record<string, string>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(entries)) metadata.set(name, value);
  return metadata;
}

export function errorOf(error: ServiceError): GrpcError {
  const { code, details, metadata } = error;
  const packed = metadata.get('grpc-status-details-bin')[0] as Buffer | undefined;
  const info = packed && errorInfoIn(packed);
  return { status: code, message: details, metadata, ...(info && { info }) };
}

/** google.rpc.Status: {code: 1, message: 2, details: repeated Any = 3}; Any: {type_url: 1, value: 2}. */
function errorInfoIn(packed: Buffer): GrpcError['info'] {
  for (const any of fieldsOf(packed, 3)) {
    const type = fieldsOf(any, 1)[0]?.toString();
    if (!type?.endsWith('espalier.v1.ErrorInfo')) continue;
    return plain(infoType.deserialize(fieldsOf(any, 2)[0] ?? Buffer.alloc(0)));
  }
  return undefined;
}

const infoType = {
  deserialize: (bytes: Buffer) => {
    const root = definition['espalier.v1.RecommendationService'] as Dynamic;
    const result = root.RecommendStream.responseDeserialize(wrap(2, bytes));
    return result.error;
  },
};

/** RecommendResult has an ErrorInfo: a way to read one with what the client has. */
function wrap(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2]), varint(bytes.length), bytes]);
}

export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** The length-delimited fields of that number. */
function fieldsOf(message: Buffer, number: number): Buffer[] {
  const found: Buffer[] = [];
  let at = 0;
  const next = () => {
    let value = 0;
    for (let shift = 1; ; shift *= 128) {
      const byte = message[at++];
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const tag = next();
    if ((tag & 7) === 0) next();
    else if ((tag & 7) === 2) {
      const length = next();
      if (tag >> 3 === number) found.push(message.subarray(at, at + length));
      at += length;
    } else throw new Error(`wire type ${tag & 7}`);
  }
  return found;
}

/**
 * What the client made of a message, as plain JSON would have it: `_name` tells of optional fields, Structs are trees
 * of kinds.
 */
export function plain(value: Dynamic): Dynamic {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object' || Buffer.isBuffer(value)) return value;
  if (isStruct(value)) return structOf(value);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !name.startsWith('_'))
      .map(([name, entry]) => [name, plain(entry)]),
  );
}

function isStruct(value: Dynamic): boolean {
  const { fields, ...rest } = value;
  return typeof fields === 'object' && Object.keys(rest).length === 0;
}

function structOf({ fields }: Dynamic): Dynamic {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, jsonOf(value)]));
}

function jsonOf(value: Dynamic): Dynamic {
  if (value.kind === 'nullValue') return null;
  if (value.kind === 'listValue') return (value.listValue.values ?? []).map(jsonOf);
  if (value.kind === 'structValue') return structOf(value.structValue);
  return value[value.kind];
}

/** The other way round, for requests. */
export function struct(object: Record<string, unknown>): object {
  return { fields: Object.fromEntries(Object.entries(object).map(([name, value]) => [name, kindOf(value)])) };
}

function kindOf(value: unknown): object {
  if (value === null) return { nullValue: 'NULL_VALUE' };
  if (typeof value === 'boolean') return { boolValue: value };
  if (typeof value === 'number') return { numberValue: value };
  if (typeof value === 'string') return { stringValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(kindOf) } };
  return { structValue: struct(value as Record<string, unknown>) };
}
