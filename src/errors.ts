/**
 * Every error that Espalier gives on purpose, in one catalogue: code, HTTP status, and what it is about.
 * `docs/errors.md` lists the same codes; a test keeps the two equal.
 */
export const errorCatalogue = {
  ESP_BODY_MALFORMED: { statusCode: 400, summary: 'The request body is not well-formed JSON.' },
  ESP_REQUEST_INVALID: { statusCode: 400, summary: 'The request does not fit its schema.' },
  ESP_BODY_TOO_LARGE: { statusCode: 413, summary: 'The request body is larger than allowed.' },
  ESP_MEDIA_TYPE: {
    statusCode: 415,
    summary: 'The request body has another content type than the route reads.',
  },
  ESP_HEADERS_TOO_LARGE: {
    statusCode: 431,
    summary: 'The request line and headers are larger than allowed.',
  },
  ESP_UNAUTHENTICATED: {
    statusCode: 401,
    summary: 'The request has no API key, or one that is unknown, revoked or expired.',
  },
  ESP_FORBIDDEN: { statusCode: 403, summary: 'The API key does not have the scope that the route needs.' },
  ESP_KEYS_UNAVAILABLE: {
    statusCode: 503,
    summary: 'The file of API keys is damaged or gone, so that no key can be checked; nothing is let in.',
  },
  ESP_HOST_REFUSED: {
    statusCode: 403,
    summary: 'Without API keys only requests of this machine are answered, none that other sites send.',
  },
  ESP_RATE_LIMITED: { statusCode: 429, summary: 'Too many requests; try again after Retry-After.' },
  ESP_KEY_CONFLICT: { statusCode: 409, summary: 'There is an API key of that name, or there are too many.' },
  ESP_KEY_NOT_FOUND: { statusCode: 404, summary: 'There is no API key of that name or id.' },
  ESP_ROUTE_NOT_FOUND: { statusCode: 404, summary: 'There is no such route.' },
  ESP_CATALOG_NOT_FOUND: { statusCode: 404, summary: 'There is no catalog of that name.' },
  ESP_CATALOG_CONFLICT: {
    statusCode: 409,
    summary: 'The catalog exists with other attributes, and has versions that depend on them.',
  },
  ESP_VERSION_NOT_FOUND: { statusCode: 404, summary: 'The catalog has no such version.' },
  ESP_CATALOG_INACTIVE: { statusCode: 409, summary: 'The catalog has no active version yet.' },
  ESP_ROLLBACK_UNAVAILABLE: {
    statusCode: 409,
    summary: 'Nothing was active before, or the version to roll back to is the active one.',
  },
  ESP_SET_NOT_FOUND: { statusCode: 404, summary: 'The catalog has no constraint set of that name.' },
  ESP_SET_UNBOUND: {
    statusCode: 409,
    summary: 'Constraint sets cannot bind to the version that is to be activated.',
  },
  ESP_SET_IN_USE: {
    statusCode: 409,
    summary: 'An alias names what is to be deleted; move or delete it first.',
  },
  ESP_ALIAS_NOT_FOUND: { statusCode: 404, summary: 'There is no alias of that name.' },
  ESP_ALIAS_CONFLICT: {
    statusCode: 409,
    summary: 'An alias and a constraint set of one catalog would have the same name.',
  },
  ESP_ITEM_NOT_FOUND: {
    statusCode: 404,
    summary: 'The active version of the catalog has no item of that id.',
  },
  ESP_PRECONDITION_FAILED: {
    statusCode: 412,
    summary: 'The resource is not in the state that If-Match or If-None-Match names.',
  },
  ESP_SET_STALE: {
    statusCode: 503,
    summary: 'The constraint set could not be refreshed for too long, and is set to refuse then.',
  },
  ESP_JOB_NOT_FOUND: { statusCode: 404, summary: 'There is no job of that id.' },
  ESP_JOB_INTERRUPTED: {
    statusCode: 500,
    summary: 'The job was interrupted, and cannot go on by itself; send it again.',
  },
  ESP_RANGE: { statusCode: 416, summary: 'The Range asks for bytes that are not there.' },
  ESP_OUTPUT_NOT_FOUND: {
    statusCode: 404,
    summary: 'The job has no output: it is no bulk job, has not succeeded, or its output was deleted.',
  },
  ESP_JOB_ENDED: {
    statusCode: 409,
    summary: 'The job has ended, or its result is being put in place; it cannot be cancelled any more.',
  },
  ESP_IDEMPOTENCY_KEY: {
    statusCode: 409,
    summary: 'The Idempotency-Key belongs to another request, or to one that is still being received.',
  },
  ESP_REDIS_UNAVAILABLE: {
    statusCode: 503,
    summary: 'Redis does not answer, and what was asked for needs it; try again after Retry-After.',
  },
  ESP_MODEL_NOT_FOUND: { statusCode: 404, summary: 'The models directory has no such model.' },
  ESP_MODEL_MANIFEST: { statusCode: 422, summary: "The model's manifest (model.json) is not valid." },
  ESP_MODEL_MISFIT: {
    statusCode: 422,
    summary:
      "The model's inputs, outputs, vocabulary, codebooks or tokens don't fit its contract or the catalog.",
  },
  ESP_MODEL_TIMEOUT: {
    statusCode: 422,
    summary: 'The model was not open, checked and measured within modelOpenTimeoutMs.',
  },
  ESP_MODEL_OUTPUT: { statusCode: 500, summary: 'The model answered with NaN or +infinity.' },
  ESP_UPLOAD_INVALID: { statusCode: 422, summary: 'The upload has bad lines; nothing was changed.' },
  ESP_UPLOAD_ABORTED: { statusCode: 400, summary: 'The client went away before the upload was complete.' },
  ESP_UPLOAD_STALLED: { statusCode: 408, summary: 'Nothing, or too little, came for too long in an upload.' },
  ESP_REQUEST_STALLED: {
    statusCode: 408,
    summary: "The request's headers or body did not come in time; its connection is closed.",
  },
  ESP_UPLOAD_EMPTY: { statusCode: 422, summary: 'The upload has no items, or a list no ids or SIDs.' },
  ESP_RULE_SYNTAX: { statusCode: 400, summary: 'The rule is not a well-formed CEL expression.' },
  ESP_RULE_NAME: {
    statusCode: 400,
    summary: 'The rule names an attribute or parameter that does not exist.',
  },
  ESP_RULE_TYPE: { statusCode: 400, summary: 'An operand or the result of the rule has the wrong type.' },
  ESP_RULE_UNSUPPORTED: {
    statusCode: 400,
    summary: 'The rule uses a part of CEL that rules do not support.',
  },
  ESP_RULE_TOO_LARGE: { statusCode: 400, summary: 'The rule is longer or nested deeper than allowed.' },
  ESP_ATTRIBUTE_NOT_FOUND: { statusCode: 400, summary: 'The catalog has no attribute of that name.' },
  ESP_HISTORY_EMPTY: { statusCode: 400, summary: 'The history is empty and the model has no bos token.' },
  ESP_BEAM_WIDTH: {
    statusCode: 400,
    summary: 'A beam width is below k, or there is not one for each level.',
  },
  ESP_TIMEOUT: { statusCode: 504, summary: "The request's timeoutMs passed before the answer was ready." },
  ESP_OVERLOADED: {
    statusCode: 503,
    summary: 'The server has more to do than it can do in time; try again after Retry-After.',
  },
  ESP_ENGINE_FAILED: {
    statusCode: 503,
    summary: 'The decode engine failed under this batch of requests, and is being replaced; try again.',
  },
  ESP_SHUTTING_DOWN: { statusCode: 503, summary: 'The server is shutting down.' },
  ESP_ARTIFACT_CORRUPT: { statusCode: 500, summary: 'A file in the data directory is truncated or damaged.' },
  ESP_ARRAY_FILE: {
    statusCode: 422,
    summary: 'An array file (.npy, .npz) is not what it claims, or its arrays do not fit together.',
  },
  ESP_EXPORT_UNSUPPORTED: {
    statusCode: 422,
    summary: 'The format, vocabulary or layers asked for cannot hold the trie.',
  },
  ESP_WRITE_FAILED: {
    statusCode: 500,
    summary: 'A file could not be written; the message says whether what had its name before is still there.',
  },
  ESP_DATA_DIR: { statusCode: 500, summary: 'The data directory cannot be used, or another server uses it.' },
  ESP_ADDRESS: { statusCode: 500, summary: 'The server cannot listen on its address.' },
  ESP_CONFIG_INVALID: { statusCode: 500, summary: 'The configuration is not valid.' },
  ESP_KERNEL_UNKNOWN: {
    statusCode: 500,
    summary: 'ESPALIER_KERNELS names a kernel that does not exist, or cannot run here.',
  },
  ESP_MEMORY: { statusCode: 507, summary: 'There is not enough memory.' },
  ESP_SYSTEM: { statusCode: 500, summary: 'The operating system refused what was asked of it.' },
  ESP_CANCELLED: { statusCode: 409, summary: 'The work was cancelled before it was done.' },
  ESP_SHAPE: { statusCode: 500, summary: 'An array has the wrong length for its documented shape.' },
  ESP_INTERNAL: { statusCode: 500, summary: 'Something went wrong that should not; the log has more.' },
} as const satisfies Record<string, { statusCode: number; summary: string }>;

export type ErrorCode = keyof typeof errorCatalogue;

/** One fault, with its place: a line of an upload, a field of a body, a position in a rule. */
export interface ErrorDetail {
  /** The file's name, where an upload has several. */
  file?: string;
  /** 1-based line of an upload. */
  line?: number;
  /** Path of the field, e.g. `sid[2]` or `constraint.filter`. */
  field?: string;
  /** 0-based offset into a rule, in UTF-16 code units. */
  position?: number;
  expected: string;
  found: string;
}

/** An error that callers may see: a stable code, a status, a message and the places of its faults. */
export class EspalierError extends Error {
  readonly code: ErrorCode;
  readonly statusCode: number;
  readonly details: ErrorDetail[] | undefined;
  /** When trying again is worth while, where that is known. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    options: { details?: ErrorDetail[]; cause?: unknown; retryAfterSeconds?: number } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'EspalierError';
    this.code = code;
    this.statusCode = errorCatalogue[code].statusCode;
    this.details = options.details;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  /** Wraps anything thrown; what is not ours becomes ESP_INTERNAL, with the original as its cause. */
  static from(thrown: unknown): EspalierError {
    if (thrown instanceof EspalierError) return thrown;
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return new EspalierError('ESP_INTERNAL', message, { cause: thrown });
  }

  /** Plain data that survives structured cloning between threads. */
  toPlain(): PlainError {
    return { code: this.code, message: this.message, ...(this.details && { details: this.details }) };
  }

  static fromPlain(plain: PlainError): EspalierError {
    return new EspalierError(plain.code, plain.message, plain.details ? { details: plain.details } : {});
  }
}

/** An error about one field of what came: what was expected there, and what was found. */
export function fieldError(
  code: ErrorCode,
  field: string,
  expected: string,
  found: string,
  cause?: unknown,
): EspalierError {
  const details = [{ field, expected, found }];
  return new EspalierError(code, `${field}: expected ${expected}, found ${found}`, { details, cause });
}

export interface PlainError {
  code: ErrorCode;
  message: string;
  details?: ErrorDetail[];
}

/** A value as a message shows it: short, and recognisable as what it is. Never looks deeper than one level. */
export function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'number') return String(value);
  if (Array.isArray(value)) {
    const isPlain = value.length <= 8 && value.every((entry) => typeof entry !== 'object');
    return isPlain ? shorten(JSON.stringify(value)) : `a list of ${value.length} values`;
  }
  if (typeof value === 'object' && value !== null) return 'an object';
  return shorten(JSON.stringify(value));
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
