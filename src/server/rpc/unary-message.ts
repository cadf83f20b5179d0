import type { Http2ServerRequest } from 'node:http2';
import { Code, ConnectError } from '@connectrpc/connect';
import { EspalierError } from '../../errors.js';

/** A byte of flags, and the message's length as a big-endian uint32. */
const HEAD_BYTES = 5;

/**
 * The one message of a call, without its head.
 * @throws ConnectError where there is none, or more than one, or it is packed, cut off or too long; EspalierError
 *   ESP_CANCELLED where the caller is gone, and what the request fails with
 */
export function readUnaryMessage(request: Http2ServerRequest, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const cancel = () => reject(new EspalierError('ESP_CANCELLED', 'the call was cancelled'));
    if (request.aborted) return cancel();
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size < HEAD_BYTES) return;
      if (chunks.length > 1 && chunks[0].length < HEAD_BYTES)
        chunks.splice(0, Infinity, Buffer.concat(chunks));
      const fault = faultOf(chunks[0], size, maxBytes);
      if (fault === undefined) return;
      request.removeAllListeners('data').resume();
      reject(fault);
    });
    request.once('end', () => {
      const body = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
      if (size === 0) reject(new ConnectError('the call has no message', Code.Unimplemented));
      else if (size < HEAD_BYTES || size < HEAD_BYTES + body.readUInt32BE(1)) reject(malformed('is cut off'));
      else resolve(body.subarray(HEAD_BYTES));
    });
    request.once('error', reject);
    request.once('aborted', cancel);
  });
}

/** What is wrong with what has come so far. @param first has the head */
function faultOf(first: Buffer, size: number, maxBytes: number): ConnectError | undefined {
  const length = first.readUInt32BE(1);
  if (length > maxBytes) {
    return new ConnectError(
      `the message has ${length} bytes, the limit is ${maxBytes}`,
      Code.ResourceExhausted,
    );
  }
  if (first[0] !== 0) return malformed('has flags, but the call names no encoding');
  if (size > HEAD_BYTES + length) {
    return new ConnectError('the call has more than one message', Code.Unimplemented);
  }
  return undefined;
}

function malformed(what: string): ConnectError {
  return new ConnectError(`the message ${what}`, Code.InvalidArgument);
}

/** A message as it is sent, with its head. */
export function withHead(message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + message.length);
  bytes[0] = 0;
  bytes.writeUInt32BE(message.length, 1);
  bytes.set(message, HEAD_BYTES);
  return bytes;
}
