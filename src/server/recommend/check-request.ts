import { Ajv, type ValidateFunction } from 'ajv';
import { type Fault, invalidRequest } from '../http/errors.js';
import { RecommendBody } from '../http/schemas/recommend.js';
import type { RecommendRequest } from './to-query.js';

let validate: ValidateFunction<RecommendRequest> | undefined;

/**
 * A request that does not come as a body of its own: one of a batch, a line, a message of another protocol.
 * @throws EspalierError ESP_REQUEST_INVALID, with the same details as the route of single requests gives
 */
export function checkRequest(value: unknown): RecommendRequest {
  validate ??= compile();
  if (validate(value)) return value;
  throw invalidRequest(validate.errors as Fault[], value);
}

/** As the HTTP application validates bodies: verbose, because the error answers quote the schema. */
function compile(): ValidateFunction<RecommendRequest> {
  const ajv = new Ajv({ useDefaults: true, removeAdditional: false, coerceTypes: false, verbose: true });
  return ajv.compile<RecommendRequest>(RecommendBody);
}
