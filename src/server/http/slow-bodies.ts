import type { FastifyInstance } from 'fastify';
import { EspalierError } from '../../errors.js';

/** Of one message, whatever the protocol. */
const SHORT_BODIES = /^application\/(json|proto|grpc-web)/;

/**
 * Ends requests whose JSON takes too long to come: sent byte by byte it would hold its connection for ever. What
 * routes read as streams, such as uploads, has a clock of its own there.
 */
export function refuseSlowBodies(app: FastifyInstance, bodyTimeoutMs: number): void {
  app.addHook('preParsing', (request, reply, payload, done) => {
    const { raw, headers } = request;
    const isShort = SHORT_BODIES.test(headers['content-type'] ?? '');
    if (!isShort || raw.complete) return done(null, payload);
    const timer = setTimeout(() => {
      // Refused for something else meanwhile: nobody listens, and the listener closes what still comes.
      if (reply.sent) return;
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
