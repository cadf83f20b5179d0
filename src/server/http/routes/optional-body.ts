import type { FastifyRequest } from 'fastify';

/** For routes whose body has only optional fields: no body is an empty one. */
export async function bodyIsOptional(request: FastifyRequest): Promise<void> {
  request.body ??= {};
}
