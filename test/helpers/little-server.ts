import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { endAfterFile } from './leftovers.js';

export type Behaviour = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** A server that misbehaves as told: what a real one does only on a bad day. */
export interface LittleServer {
  url: string;
  /** What came, in its order. */
  requests: { method: string; path: string; headers: IncomingMessage['headers']; body: string }[];
}

/** @param behaviours one for each request; the last is that of all further ones. */
export async function littleServer(...behaviours: Behaviour[]): Promise<LittleServer> {
  const requests: LittleServer['requests'] = [];
  const server = createServer(async (request, response) => {
    const number = requests.length;
    const { method, url, headers } = request;
    const entry = { method: method!, path: url!, headers, body: '' };
    requests.push(entry);
    try {
      for await (const chunk of request) entry.body += chunk;
    } catch {
      // The client has gone away.
    }
    behaviours[Math.min(number, behaviours.length - 1)](request, response, entry.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endAfterFile(() => {
    server.close();
    server.closeAllConnections();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

export function answers(status: number, body: unknown, headers: Record<string, string> = {}): Behaviour {
  return (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  };
}

export const refuses = (status: number, code: string, headers: Record<string, string> = {}): Behaviour =>
  answers(status, { error: { code, message: 'not now' } }, headers);

export const hangs: Behaviour = () => {};

export const resets: Behaviour = (request) => {
  request.socket.destroy();
};

/** Half of an answer, then the connection is cut. */
export const breaksOff: Behaviour = (request, response) => {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': '1000' });
  response.write('{"items": [');
  setTimeout(() => request.socket.destroy(), 20);
};
