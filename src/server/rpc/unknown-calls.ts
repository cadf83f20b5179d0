import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import { EspalierError } from '../../errors.js';
import { toConnectError } from './errors.js';

/** Answers a call to a service or method that is not there, so that clients of gRPC see our code. */
export function answerUnknown(
  { url = '', headers }: Http2ServerRequest,
  response: Http2ServerResponse,
): void {
  const contentType = headers['content-type'] ?? '';
  const error = new EspalierError(
    'ESP_ROUTE_NOT_FOUND',
    `there is no method ${url.split('?')[0].slice(0, 200)}`,
  );
  if (!contentType.startsWith('application/grpc')) {
    response.writeHead(error.statusCode, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: error.toPlain() }));
    return;
  }
  // gRPC's answer that has nothing but an end: its status is among the headers.
  const header = setTrailerStatus(new Headers({ 'content-type': contentType }), toConnectError(error));
  response.writeHead(200, Object.fromEntries(header));
  response.end();
}
