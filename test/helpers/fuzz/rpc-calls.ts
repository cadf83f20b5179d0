import { Client, credentials, type Metadata, type ServiceError } from '@grpc/grpc-js';
import { definition, errorOf, type GrpcError, metadataOf } from '../grpc.js';
import type { Random } from '../random.js';
import type { Vocabulary } from './from-schema.js';
import { spoilBytes } from './spoil.js';
import { type MessageType, WireWriter } from './wire.js';

// biome-ignore lint/suspicious/noExplicitAny: made of the .proto files when the test runs.
type Dynamic = any;

export interface Method {
  path: string;
  requestStream: boolean;
  responseStream: boolean;
  requestType: { type: MessageType };
  responseDeserialize: (bytes: Buffer) => object;
}

/** A call as nobody would send it. */
export interface RandomCall {
  method: Method;
  messages: Buffer[];
  headers: Record<string, string>;
  /** The client leaves after so long. */
  cancelAfterMs: number | undefined;
  deadlineMs: number | undefined;
}

/** How it ended; `hasLeft` where the client did not wait for that. */
export interface CallEnd {
  answers: object[];
  error?: GrpcError;
  hasLeft: boolean;
}

/** Longer than anything takes that ends by itself. */
const TIMEOUT_MS = 30_000;
/** Watches of jobs that go on are left then. */
const MAX_ANSWERS = 20;

/** Every method of the services of `espalier.v1`. */
export const methods: readonly Method[] = Object.entries(definition as Dynamic)
  .filter(([name, entry]) => /^espalier\.v1\.\w+Service$/.test(name) && !('type' in (entry as object)))
  .flatMap(([, service]) => Object.values(service as Record<string, Method>));

export function randomCall(
  random: Random,
  words: Vocabulary,
  keys: readonly Record<string, string>[],
): RandomCall {
  const method = random.pick(methods);
  const writer = new WireWriter(random, words, typeOf);
  const wrongness = random.pick([0, 0.05, 0.3]);
  const count = method.requestStream ? random.below(5) : 1;
  const messages = Array.from({ length: count }, () => {
    const bytes = writer.message(method.requestType.type, wrongness);
    return random.chance(0.15) ? spoilBytes(bytes, random) : bytes;
  });
  return {
    method,
    messages,
    headers: { ...random.pick(keys), ...(random.chance(0.1) && oddHeader(random)) },
    cancelAfterMs: random.chance(0.15) ? random.below(8) : undefined,
    deadlineMs: random.chance(0.05) ? random.below(10) : undefined,
  };
}

function oddHeader(random: Random): Record<string, string> {
  return random.pick<Record<string, string>>([
    { 'if-match': '"x"' },
    { 'if-none-match': '*' },
    { 'x-actor': 'x'.repeat(300) },
    { 'grpc-encoding': 'br' },
    { 'x-api-key': 'x' },
    { traceparent: 'x' },
  ]);
}

/** Types name each other as the .proto files do: nested ones, those of the package, or in full. */
function typeOf(name: string, within: MessageType): MessageType | undefined {
  const nested = within.nestedType.find((type) => type.name === name);
  if (nested !== undefined) return nested;
  const entries = definition as Dynamic;
  for (const prefix of ['espalier.v1.', 'google.protobuf.', '']) {
    const found = entries[`${prefix}${name}`]?.type as MessageType | undefined;
    if (found?.field !== undefined) return found;
  }
  return undefined;
}

/** Sends messages that are bytes already, with an independent client of gRPC. */
export class RawClient {
  readonly #client: Client;

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure());
  }

  send({ method, messages, headers, cancelAfterMs, deadlineMs }: RandomCall): Promise<CallEnd> {
    return new Promise((resolve) => {
      const answers: object[] = [];
      let hasLeft = false;
      const write = (bytes: Buffer) => bytes;
      const args = [method.path, write, method.responseDeserialize] as const;
      const options = { deadline: Date.now() + (deadlineMs ?? TIMEOUT_MS) };
      const metadata: Metadata = metadataOf(headers);
      const done = (error: ServiceError | null, answer?: object) => {
        if (answer !== undefined) answers.push(answer);
        resolve({ answers, hasLeft, ...(error && { error: errorOf(error) }) });
      };
      const call: Dynamic = method.requestStream
        ? method.responseStream
          ? this.#client.makeBidiStreamRequest(...args, metadata, options)
          : this.#client.makeClientStreamRequest(...args, metadata, options, done)
        : method.responseStream
          ? this.#client.makeServerStreamRequest(...args, messages[0], metadata, options)
          : this.#client.makeUnaryRequest(...args, messages[0], metadata, options, done);
      const leave = () => {
        hasLeft = true;
        call.cancel();
      };
      if (method.responseStream) {
        call.on('data', (answer: object) => {
          answers.push(answer);
          if (answers.length === MAX_ANSWERS) leave();
        });
        call.on('error', (error: ServiceError) => done(error));
        call.on('end', () => done(null));
      }
      if (method.requestStream) {
        for (const bytes of messages) call.write(bytes);
        call.end();
      }
      if (cancelAfterMs !== undefined) setTimeout(leave, cancelAfterMs);
    });
  }

  close(): void {
    this.#client.close();
  }
}
