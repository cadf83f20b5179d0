export interface ClientOptions {
  /** Where the server listens, such as `http://127.0.0.1:8080`; a path before `/v1` is kept. */
  url: string;
  /** Sent as `Authorization: Bearer …`. */
  apiKey?: string | undefined;
  /** Time for a call with all its attempts. Default: 30,000. Uploads, streams and waits have none unless told. */
  timeoutMs?: number | undefined;
  /** How often a call that can be repeated is tried again after a 429, a 503 or a lost connection. Default: 3. */
  retries?: number | undefined;
  /** In place of the global one. */
  fetch?: typeof fetch | undefined;
  /** Sent with every call, such as `X-Actor`. */
  headers?: Readonly<Record<string, string>> | undefined;
}

/** For a single call. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
  timeoutMs?: number | undefined;
  retries?: number | undefined;
  headers?: Readonly<Record<string, string>> | undefined;
}

/** For calls that change something. */
export interface ChangeOptions extends CallOptions {
  /** Only where the resource still has this ETag (or exists: `*`). */
  ifMatch?: string | undefined;
  /** Only where there is none yet. */
  ifAbsent?: boolean | undefined;
  /** Who does it, as versions and logs name them. */
  actor?: string | undefined;
}

export interface UploadOptions extends ChangeOptions {
  /** Default: `ndjson`. */
  format?: 'ndjson' | 'csv' | 'parquet' | 'arrow' | undefined;
  /** What is sent is packed with gzip. */
  isGzip?: boolean | undefined;
  /** Puts the version in force when it is built. */
  activate?: boolean | undefined;
  /** Makes sending the upload again the same job. Default: a new one for every call, shared by its attempts. */
  idempotencyKey?: string | undefined;
}

export function changeHeaders({ ifMatch, ifAbsent, actor }: ChangeOptions): Record<string, string> {
  return {
    ...(ifMatch !== undefined && { 'if-match': ifMatch }),
    ...(ifAbsent && { 'if-none-match': '*' }),
    ...(actor !== undefined && { 'x-actor': actor }),
  };
}

/** A condition that held for a first attempt need not hold for the second: that attempt's own change broke it. */
export function isUnconditional({ ifMatch, ifAbsent }: ChangeOptions): boolean {
  return ifMatch === undefined && !ifAbsent;
}
