import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { Socket } from 'node:net';
import type { FastifyInstance } from 'fastify';
import type { Config } from '../config.js';
import type { Drainable } from '../drain.js';

export type ListenerLimits = Pick<
  Config,
  'maxConnections' | 'headersTimeoutMs' | 'bodyTimeoutMs' | 'keepAliveTimeoutMs'
>;

/** The system asks clients that say nothing for so long whether they are still there. */
const PROBE_AFTER_MS = 60_000;
/** Of the request line and all headers; names in URLs are the longest that they hold. */
const MAX_HEADER_BYTES = 16_384;
/** Slow connections are looked for so often at least. */
const MAX_CHECK_INTERVAL_MS = 1_000;

/** A connection that is open. */
interface Connection {
  inFlight: number;
  /** What had been read when the last request ended; more than that is the beginning of another. */
  restingBytes: number;
}

/** The HTTP servers of an app (one for each address of its host), their bounds, and how they are closed. */
export class HttpListener implements Drainable {
  readonly #limits: ListenerLimits;
  readonly #onDrop: () => void;
  readonly #connections = new Map<Socket, Connection>();
  #app: FastifyInstance | undefined;
  #isClosing = false;

  /** @param onDrop a connection was closed at once, since there are too many */
  constructor(limits: ListenerLimits, onDrop: () => void) {
    this.#limits = limits;
    this.#onDrop = onDrop;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Makes a server for Fastify, as its `serverFactory`. */
  readonly createServer = (handler: RequestListener): Server => {
    const { maxConnections, headersTimeoutMs, keepAliveTimeoutMs } = this.#limits;
    const server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: headersTimeoutMs,
        keepAliveTimeout: keepAliveTimeoutMs,
        // Bodies have clocks of their own: an upload may take hours, other bodies may not.
        requestTimeout: 0,
        connectionsCheckingInterval: Math.min(MAX_CHECK_INTERVAL_MS, headersTimeoutMs / 2),
        keepAlive: true,
        keepAliveInitialDelay: PROBE_AFTER_MS,
        noDelay: true,
      },
      handler,
    );
    server.maxConnections = maxConnections;
    server.on('drop', this.#onDrop);
    server.on('connection', (socket) => this.#watch(socket));
    server.on('request', (request, response) => this.#begin(request, response));
    return server;
  };

  /** Closing it closes this app. */
  attach(app: FastifyInstance): void {
    this.#app = app;
  }

  async close(graceMs: number): Promise<void> {
    // Connections that the system has made already would be reset with the listening socket: they are taken first.
    await new Promise((resolve) => setImmediate(resolve));
    this.#isClosing = true;
    const timer = setTimeout(() => {
      for (const socket of this.#connections.keys()) socket.destroy();
    }, graceMs);
    const closed = this.#app?.close();
    for (const [socket, connection] of this.#connections) closeIfIdle(socket, connection);
    await closed;
    clearTimeout(timer);
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    connection.inFlight++;
    response.once('close', () => {
      connection.inFlight--;
      connection.restingBytes = socket.bytesRead;
      if (this.#isClosing) closeIfIdle(socket, connection);
      else if (!request.complete) this.#endRest(request, socket);
    });
  }

  /** A body that was answered before its end may come to it, but not for ever. */
  #endRest(request: IncomingMessage, socket: Socket): void {
    if (socket.destroyed) return;
    const timer = setTimeout(() => socket.destroy(), this.#limits.bodyTimeoutMs);
    const stop = () => clearTimeout(timer);
    request.once('end', stop);
    socket.once('close', stop);
  }

  #watch(socket: Socket): void {
    this.#connections.set(socket, { inFlight: 0, restingBytes: 0 });
    socket.once('close', () => this.#connections.delete(socket));
  }
}

/** One on which a request has begun to come may bring it to its end. */
function closeIfIdle(socket: Socket, { inFlight, restingBytes }: Connection): void {
  if (inFlight === 0 && socket.bytesRead === restingBytes) socket.destroySoon();
}
