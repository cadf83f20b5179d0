import type { FastifyInstance } from 'fastify';
import type { RecommendRequest } from '../recommend/to-query.js';
import { schemaError } from './errors.js';
import { RecommendBody } from './schemas/recommend.js';

type Validate = ((body: unknown) => unknown) & { errors?: Parameters<typeof schemaError>[0] | null };

/**
 * Checks a request that came over another protocol as the HTTP route checks its body: the same schema, compiled by the
 * same compiler, and the same errors.
 * @param app ready when the first request comes
 */
export function recommendValidator(app: FastifyInstance): (body: unknown) => RecommendRequest {
  let validate: Validate | undefined;
  return (body) => {
    validate ??= compile(app);
    if (validate(body) === true) return body as RecommendRequest;
    throw schemaError(validate.errors!, body);
  };
}

function compile({ validatorCompiler }: FastifyInstance): Validate {
  if (validatorCompiler === undefined) throw new Error('the application is not ready');
  const route = { method: 'POST', url: '/v1/recommend', httpPart: 'body' };
  return validatorCompiler({ schema: RecommendBody, ...route }) as Validate;
}
