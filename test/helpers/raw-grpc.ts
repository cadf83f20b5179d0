import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from 'node:http2';

/** How a call ended: gRPC's status and our code; without a status, what HTTP said; neither where it was cut off. */
export interface RawEnd {
  status?: number;
  httpStatus?: number;
  code?: string;
}

export interface RawCallOptions {
  headers?: Record<string, string>;
  /** Left open instead of ended. */
  isHalfSent?: boolean;
}

/** Bytes as a call of gRPC, whatever they are, over a connection of their own. */
export async function rawCall(
  address: string,
  path: string,
  bytes: Buffer,
  options: RawCallOptions = {},
): Promise<RawEnd> {
  const session = connect(`http://${address}`);
  session.on('error', () => {});
  try {
    return await rawCallOver(session, path, bytes, options);
  } finally {
    session.destroy();
  }
}

/** Resolves when the stream is closed on both sides. */
export function rawCallOver(
  session: ClientHttp2Session,
  path: string,
  bytes: Buffer,
  { headers = {}, isHalfSent = false }: RawCallOptions = {},
): Promise<RawEnd> {
  const stream = session.request({
    ':method': 'POST',
    ':path': path,
    'content-type': 'application/grpc+proto',
    te: 'trailers',
    ...headers,
  });
  let end: RawEnd = {};
  let body = '';
  stream.on('response', (got) => {
    end = { ...statusOf(got), ...(got[':status'] !== 200 && { httpStatus: got[':status']! }) };
  });
  stream.on('trailers', (got) => {
    end = { ...end, ...statusOf(got) };
  });
  stream.on('data', (chunk) => {
    body += chunk;
  });
  stream.on('error', () => {});
  stream.write(bytes);
  if (!isHalfSent) stream.end();
  return new Promise((resolve) => {
    stream.on('close', () =>
      resolve(end.httpStatus === undefined ? end : { ...end, ...codeOf(Buffer.from(body)) }),
    );
  });
}

function statusOf(headers: IncomingHttpHeaders): RawEnd {
  if (headers['grpc-status'] === undefined) return {};
  const details = String(headers['grpc-status-details-bin'] ?? '');
  return { status: Number(headers['grpc-status']), ...codeOf(Buffer.from(details, 'base64')) };
}

/** Our codes are plain text in every encoding. */
function codeOf(bytes: Buffer): RawEnd {
  const code = /ESP_[A-Z_]+/.exec(bytes.toString('latin1'))?.[0];
  return code === undefined ? {} : { code };
}
