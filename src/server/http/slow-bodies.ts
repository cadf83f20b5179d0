import type { FastifyInstance } from 'fastify';
import { EspalierError } from '../../errors.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The body is read as it comes, for as long as it does, with a clock of its own. */
    isStreamed?: boolean;
  }
}

/**
 * Ends requests whose body takes too long to come, whatever it is: sent byte by byte it would hold its connection for
 * ever. Routes with `config.isStreamed`, such as uploads, have clocks of their own.
 */
export function refuseSlowBodies(app: FastifyInstance, bodyTimeoutMs: number): void {
  app.addHook('preParsing', (request, reply, payload, done) => {
    const { raw, headers, routeOptions } = request;
    const hasBody = headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined;
    const isClocked = hasBody && routeOptions.config.isStreamed !== true && !raw.complete;
    if (!isClocked) return done(null, payload);
    const timer = setTimeout(() => {
      // Refused for something else meanwhile, or not read at all: the listener closes what still comes after the answer.
      if (reply.sent || payload.listenerCount('error') === 0) return;
      reply.header('connection', 'close');
      const message = `the body has not come within ${bodyTimeoutMs} ms`;
      payload.emit('error', new EspalierError('ESP_REQUEST_STALLED', message));
    }, bodyTimeoutMs);
    const stop = () => clearTimeout(timer);
    raw.once('end', stop);
    raw.once('close', stop);
    done(null, payload);
  });
}
