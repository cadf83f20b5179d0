import { Agent, request } from 'node:http';
import { text } from 'node:stream/consumers';
import { GrpcTransport } from './grpc-transport.js';

/** A recommend request, as every protocol can carry it. */
export interface LoadRequest {
  catalog: string;
  history: string[];
  k: number;
  beamWidth: number;
  constraint: { set?: string; filter?: string };
  excludeHistory: boolean;
  timeoutMs: number;
}

/** What came of it: items, or the code of a typed error; anything else is a failure of the server. */
export type LoadReply =
  | { outcome: 'answer'; items: { id: string }[]; isComplete: boolean; timings: Timings }
  | { outcome: 'error'; code: string; hasRetryAfter: boolean }
  | { outcome: 'failure'; message: string };

export interface Timings {
  queueMs: number;
  modelMs: number;
  constraintMs: number;
  totalMs: number;
}

/** How requests get to the server. */
export interface Transport {
  /** Never rejects. */
  send(request: LoadRequest): Promise<LoadReply>;
  close(): void;
}

export type TransportName = 'http' | 'grpc';

/** @param url of the HTTP listener, or host:port of gRPC */
export function openTransport(name: TransportName, url: string): Transport {
  if (name === 'http') return new HttpTransport(url);
  if (name === 'grpc') return new GrpcTransport(url);
  throw new Error(`there is no transport ${name}`);
}

/** HTTP/JSON over as many keep-alive connections as there are requests at a time. */
class HttpTransport implements Transport {
  readonly #url: URL;
  readonly #agent = new Agent({ keepAlive: true, noDelay: true });

  constructor(url: string) {
    this.#url = new URL('/v1/recommend', url);
  }

  send(body: LoadRequest): Promise<LoadReply> {
    return new Promise((resolve) => {
      const fail = (error: Error) => resolve({ outcome: 'failure', message: error.message });
      const payload = JSON.stringify(body);
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
      const sent = request(this.#url, { method: 'POST', agent: this.#agent, headers });
      sent.once('error', fail);
      sent.once('response', (response) => {
        const hasRetryAfter = response.headers['retry-after'] !== undefined;
        text(response)
          .then((read) => resolve(replyOf(JSON.parse(read), hasRetryAfter)))
          .catch(fail);
      });
      sent.end(payload);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

interface HttpAnswer {
  items?: { id: string }[];
  complete?: boolean;
  timings?: Timings;
  error?: { code: string };
}

function replyOf({ items, complete, timings, error }: HttpAnswer, hasRetryAfter: boolean): LoadReply {
  if (error !== undefined) return { outcome: 'error', code: error.code, hasRetryAfter };
  return { outcome: 'answer', items: items!, isComplete: complete!, timings: timings! };
}
