import { type ErrorCode, errorCatalogue } from '../../errors.js';
import { type Need, needOf } from '../security/route-scopes.js';
import { isReading } from './guard.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Codes of errors that this route answers with, beside those that follow from what kind of route it is. */
    errors?: readonly ErrorCode[];
  }
}

/** What decides which errors any route of its kind can answer with. */
export interface DocumentedRoute {
  method: string;
  url: string;
  config?: { errors?: readonly ErrorCode[]; isShed?: boolean } | undefined;
}

/** Of the connection, the head of the request and its query; and what nobody foresaw. */
const ofEveryRoute = [
  'ESP_REQUEST_INVALID',
  'ESP_BODY_MALFORMED',
  'ESP_REQUEST_STALLED',
  'ESP_HEADERS_TOO_LARGE',
  'ESP_INTERNAL',
] as const satisfies ErrorCode[];

const ofRoutesWithKeys = [
  'ESP_UNAUTHENTICATED',
  'ESP_FORBIDDEN',
  'ESP_HOST_REFUSED',
  'ESP_RATE_LIMITED',
  'ESP_KEYS_UNAVAILABLE',
] as const satisfies ErrorCode[];

/** Also where no body is read: what comes is parsed before it is refused. */
const ofBodies = ['ESP_BODY_TOO_LARGE', 'ESP_MEDIA_TYPE'] as const satisfies ErrorCode[];

const ofShedRoutes = ['ESP_OVERLOADED'] as const satisfies ErrorCode[];

/** Groups of codes that routes have in common, for their `config.errors`. */
export const ofCatalogs = ['ESP_CATALOG_NOT_FOUND', 'ESP_ARTIFACT_CORRUPT'] as const satisfies ErrorCode[];

export const ofRules = [
  'ESP_RULE_SYNTAX',
  'ESP_RULE_NAME',
  'ESP_RULE_TYPE',
  'ESP_RULE_UNSUPPORTED',
  'ESP_RULE_TOO_LARGE',
] as const satisfies ErrorCode[];

/** Of what the decode engines and the rules worker are asked for. */
export const ofThreads = [
  'ESP_MEMORY',
  'ESP_SYSTEM',
  'ESP_ENGINE_FAILED',
  'ESP_SHUTTING_DOWN',
] as const satisfies ErrorCode[];

/** Of changes that are written down, and may come with `If-Match`. */
export const ofChanges = ['ESP_PRECONDITION_FAILED', 'ESP_WRITE_FAILED'] as const satisfies ErrorCode[];

export const ofModels = [
  'ESP_MODEL_NOT_FOUND',
  'ESP_MODEL_MANIFEST',
  'ESP_MODEL_MISFIT',
  'ESP_MODEL_TIMEOUT',
  'ESP_MODEL_OUTPUT',
  ...ofThreads,
] as const satisfies ErrorCode[];

/** Of making a version and its model serve. */
export const ofActivations = [...ofChanges, ...ofModels, 'ESP_SET_UNBOUND'] as const satisfies ErrorCode[];

export const ofNewJobs = [
  'ESP_OVERLOADED',
  'ESP_REDIS_UNAVAILABLE',
  'ESP_SHUTTING_DOWN',
  'ESP_WRITE_FAILED',
] as const satisfies ErrorCode[];

export const ofUploads = [
  ...ofNewJobs,
  'ESP_IDEMPOTENCY_KEY',
  'ESP_UPLOAD_ABORTED',
  'ESP_UPLOAD_STALLED',
] as const satisfies ErrorCode[];

/** What it takes to call a route; the configuration may let anyone read the metrics. */
export function needOfRoute({ method, url }: DocumentedRoute): Need {
  return needOf(method, url);
}

/** The codes that a route can answer with, by status, each list in the order of the catalogue. */
export function errorsOf(route: DocumentedRoute): Map<number, ErrorCode[]> {
  const { method, config } = route;
  const codes = new Set<ErrorCode>([
    ...ofEveryRoute,
    ...(needOfRoute(route) === 'open' ? [] : ofRoutesWithKeys),
    ...(isReading(method) ? [] : ofBodies),
    ...(config?.isShed === true ? ofShedRoutes : []),
    ...(config?.errors ?? []),
  ]);
  const byStatus = new Map<number, ErrorCode[]>();
  for (const code of Object.keys(errorCatalogue) as ErrorCode[]) {
    if (!codes.has(code)) continue;
    const { statusCode } = errorCatalogue[code];
    byStatus.set(statusCode, [...(byStatus.get(statusCode) ?? []), code]);
  }
  return byStatus;
}
