import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { FastifyInstance, FastifySchema } from 'fastify';
import { type TSchema, Type } from 'typebox';
import { type ErrorCode, errorCatalogue } from '../../errors.js';
import { packageVersion } from '../package-version.js';
import { type DocumentedRoute, errorsOf, needOfRoute } from './route-errors.js';
import { errorAnswerOf } from './schemas/common.js';

/** The document's name for API keys. */
const KEY = 'apiKey';

/** The OpenAPI document, made of the routes that are added after this, and the pages that show it. */
export async function documentApi(app: FastifyInstance): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Espalier',
        description: 'Constrained decoding for generative retrieval.',
        version: packageVersion(),
        license: { name: 'Apache-2.0' },
      },
      components: {
        securitySchemes: {
          [KEY]: { type: 'http', scheme: 'bearer', description: 'An API key, where the server has keys.' },
        },
      },
    },
    transform: ({ schema, url, route }) => ({
      url,
      schema: schema === undefined || schema.hide ? schema : documented(schema, route as DocumentedRoute),
    }),
  });
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    uiConfig: { defaultModelsExpandDepth: -1 },
    // The top bar only asks for the address of another document.
    theme: {
      title: 'Espalier',
      css: [{ filename: 'espalier.css', content: '.swagger-ui .topbar { display: none }' }],
    },
  });
}

/**
 * A route's schema as the document has it: with the scope that it takes, and a response for each status that it can
 * answer with, which names its codes. The server itself needs none of the errors: making a writer for each route takes
 * longer than writing them without.
 */
function documented(schema: FastifySchema, route: DocumentedRoute): FastifySchema {
  const need = needOfRoute(route);
  const security = need === 'open' ? [] : [{ [KEY]: need === 'anyKey' ? [] : [need] }];
  const answers = { ...(schema.response as Record<string, TSchema> | undefined) };
  for (const [status, codes] of errorsOf(route)) {
    const ofErrors = errorAnswerOf(codes);
    const other = answers[status];
    answers[status] = {
      ...(other === undefined ? ofErrors : Type.Union([other, ofErrors])),
      'x-response-description': codes.map(lineOf).join('\n'),
    } as TSchema;
  }
  return { ...schema, security, response: answers };
}

function lineOf(code: ErrorCode): string {
  return `- \`${code}\`: ${errorCatalogue[code].summary}`;
}
