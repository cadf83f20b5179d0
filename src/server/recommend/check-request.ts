import { Ajv, type ValidateFunction } from 'ajv';
import { type Fault, invalidRequest } from '../http/errors.js';
import { RecommendBody } from '../http/schemas/recommend.js';
import type { RecommendRequest } from './to-query.js';

let compiled: ValidateFunction<RecommendRequest> | undefined;

/**
 * A request that does not come as a body of its own: one of a batch, a line, a message of another protocol.
 * @throws EspalierError ESP_REQUEST_INVALID, with the same details as the route of single requests gives
 */
export function checkRequest(value: unknown): RecommendRequest {
  const validate = compileRequestCheck();
  if (validate(value)) return value;
  throw invalidRequest(validate.errors as Fault[], value);
}

/** Takes up to 100 ms at its first call; a server calls it before its first request would. */
export function compileRequestCheck(): ValidateFunction<RecommendRequest> {
  compiled ??= compile();
  return compiled;
}

/** As the HTTP application validates bodies: verbose, because the error answers quote the schema. */
function compile(): ValidateFunction<RecommendRequest> {
  const ajv = new Ajv({ useDefaults: true, removeAdditional: false, coerceTypes: false, verbose: true });
  return ajv.compile<RecommendRequest>(RecommendBody);
}
