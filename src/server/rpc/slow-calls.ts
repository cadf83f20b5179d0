import { constants, type Http2Server, type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import type { DescService } from '@bufbuild/protobuf';
import { EspalierError } from '../../errors.js';

/**
 * Ends calls whose only message takes too long to come: half sent, it would hold its stream as long as the connection
 * lives. Streams of messages may wait between them, and uploads have a clock of their own. Must come before what
 * answers the calls.
 * @param bodyTimeoutMs as for bodies of HTTP
 */
export function refuseSlowCalls(
  server: Http2Server,
  services: readonly DescService[],
  bodyTimeoutMs: number,
): void {
  const paths = pathsOfOneMessage(services);
  server.on('request', (request: Http2ServerRequest, response: Http2ServerResponse) => {
    // The trailers are the end of the answer, and sent by who listens after this.
    request.stream.once('wantTrailers', () => setImmediate(() => closeRest(request)));
    if (request.complete || !paths.has(request.url.split('?')[0])) return;
    const timer = setTimeout(() => {
      const message = `the message has not come within ${bodyTimeoutMs} ms`;
      // Who reads it fails with this; nobody does where the call was refused meanwhile.
      if (request.listenerCount('error') > 0) {
        request.emit('error', new EspalierError('ESP_REQUEST_STALLED', message));
      }
    }, bodyTimeoutMs);
    const stop = () => clearTimeout(timer);
    request.once('end', stop);
    response.once('close', stop);
  });
}

/** Of methods whose callers send one message, such as `/espalier.v1.RecommendationService/Recommend`. */
export function pathsOfOneMessage(services: readonly DescService[]): Set<string> {
  const methods = services.flatMap((service) => service.methods);
  const single = methods.filter(
    ({ methodKind }) => methodKind === 'unary' || methodKind === 'server_streaming',
  );
  return new Set(single.map(({ parent, name }) => `/${parent.typeName}/${name}`));
}

/** What still comes after the answer is for nobody: without this the client could keep the stream open. */
function closeRest({ stream }: Http2ServerRequest): void {
  if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
}
