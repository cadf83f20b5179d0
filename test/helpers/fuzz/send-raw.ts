import { type Agent, request } from 'node:http';
import type { RawRequest } from './http-requests.js';

export interface RawReply {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  text: string;
}

const TIMEOUT_MS = 30_000;
/** Streams that do not end by themselves are left after so much. */
const MAX_BYTES = 1 << 20;

/** Sends a request that `fetch` would not let through. @returns the answer, or why there was none */
export function sendRaw(
  url: string,
  { method, path, headers, body }: RawRequest,
  agent: Agent,
): Promise<RawReply | Error> {
  return new Promise((resolve) => {
    try {
      const sent = request(`${url}${path}`, { method, headers, agent, timeout: TIMEOUT_MS }, (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        const end = () => {
          const text = Buffer.concat(chunks).toString();
          resolve({ status: response.statusCode!, headers: response.headers, text });
        };
        const isStream = response.headers['content-type']?.startsWith('text/event-stream');
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk);
          length += chunk.length;
          if (!isStream && length < MAX_BYTES) return;
          end();
          response.destroy();
        });
        response.on('end', end).on('error', resolve);
      });
      sent.on('error', resolve).on('timeout', () => sent.destroy(new Error('no answer in time')));
      sent.end(body);
    } catch (thrown) {
      // Node refuses to send it.
      resolve(thrown as Error);
    }
  });
}
