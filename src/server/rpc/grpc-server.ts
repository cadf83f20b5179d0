import {
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { createContextValues } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import { EspalierError } from '../../errors.js';
import { type Drainable, drainHttp2 } from '../drain.js';
import { RecommendCalls } from './recommend-calls.js';
import { rpcOptions, rpcRoutes, services } from './routes.js';
import { type RpcDeps, remoteAddress } from './rpc-deps.js';
import { refuseSlowCalls } from './slow-calls.js';
import { answerUnknown } from './unknown-calls.js';
import type { CallWatch } from './watched-calls.js';

const MAX_CONNECTIONS = 1_024;
const MAX_STREAMS = 256;
const MAX_SESSION_MEMORY_MB = 16;
const MAX_HEADER_BYTES = 16_384;
const MAX_HEADERS = 128;
/** A session on which nothing came or went for so long is asked whether it lives. */
const IDLE_SESSION_MS = 120_000;
const PING_TIMEOUT_MS = 20_000;

export interface GrpcServer extends Drainable {
  /** e.g. `http://127.0.0.1:9090`. */
  url: string;
}

/**
 * gRPC over HTTP/2 without TLS (h2c).
 * @throws EspalierError ESP_ADDRESS
 */
export async function startGrpcServer(
  deps: Omit<RpcDeps, 'closing' | 'watch'> & { watch: CallWatch },
  { host, port }: { host: string; port: number },
): Promise<GrpcServer> {
  const closing = new AbortController();
  const server = createServer({
    maxSessionMemory: MAX_SESSION_MEMORY_MB,
    maxHeaderListPairs: MAX_HEADERS,
    maxSessionInvalidFrames: 100,
    maxSessionRejectedStreams: 100,
    unknownProtocolTimeout: 10_000,
    settings: { maxConcurrentStreams: MAX_STREAMS, maxHeaderListSize: MAX_HEADER_BYTES, enablePush: false },
  });
  refuseSlowCalls(server, services, deps.config.bodyTimeoutMs);
  const recommendCalls = new RecommendCalls(deps);
  const otherCalls = connectNodeAdapter({
    ...rpcOptions(deps),
    connect: false,
    grpcWeb: false,
    routes: rpcRoutes({ ...deps, closing: closing.signal }),
    // Connect types them for either version of HTTP; here it is 2.
    fallback: (request, response) =>
      answerUnknown(request as Http2ServerRequest, response as unknown as Http2ServerResponse),
    contextValues: ({ socket }) => createContextValues().set(remoteAddress, socket.remoteAddress),
  });
  server.on('request', (request, response) => {
    if (recommendCalls.takes(request)) void recommendCalls.answer(request, response);
    else otherCalls(request, response);
  });
  const drainable = drainHttp2(server);
  server.on('session', watchSession);
  server.on('sessionError', (error) => deps.app.log.debug({ err: error }, 'a gRPC session failed'));
  limitConnections(server);
  await listen(server, host, port);
  const address = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${address.port}`,
    close(graceMs) {
      closing.abort();
      return drainable.close(graceMs);
    },
  };
}

function listen(server: Http2Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const message = `cannot listen on ${host}, port ${port} (gRPC): ${cause.message}`;
      reject(new EspalierError('ESP_ADDRESS', message, { cause }));
    });
    server.listen(port, host, resolve);
  });
}

/** Http2Server is a net.Server, whose limit its type does not have. */
function limitConnections(server: Http2Server): void {
  Object.assign(server, { maxConnections: MAX_CONNECTIONS });
}

/** A peer that is gone without a word keeps no session; one that only waits does. */
function watchSession(session: ServerHttp2Session): void {
  session.setTimeout(IDLE_SESSION_MS, () => {
    if (session.destroyed) return;
    const timer = setTimeout(() => session.destroy(), PING_TIMEOUT_MS);
    const isSent = session.ping(() => clearTimeout(timer));
    if (!isSent) session.destroy();
    session.once('close', () => clearTimeout(timer));
  });
}
