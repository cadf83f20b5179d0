import type { MessageInitShape } from '@bufbuild/protobuf';
import type { RecommendAnswer } from '../../decoder/index.js';
import type {
  Constraint,
  RecommendRequest,
  RecommendResponseSchema,
} from './generated/espalier/v1/recommendation_pb.js';

const MAX_TIMEOUT_MS = 600_000;

/**
 * The request that a message stands for; the call's deadline is the request's where it is sooner.
 * @param remainingMs until the deadline, where the call has one
 */
export function requestOf(
  message: RecommendRequest,
  remainingMs: number | undefined,
): Record<string, unknown> {
  const body = bodyOf(message);
  const { timeoutMs = MAX_TIMEOUT_MS } = message;
  if (remainingMs === undefined || timeoutMs > MAX_TIMEOUT_MS) return body;
  const callMs = Math.max(1, Math.floor(remainingMs));
  return callMs < timeoutMs ? { ...body, timeoutMs: callMs } : body;
}

/**
 * A message as the JSON body that says the same. By hand, because this is the hot path: no reflection, and lists are
 * passed on as they are.
 *
 * A list that is empty in a message is one that is absent. So an empty history is meant where there are no tokens.
 */
function bodyOf(message: RecommendRequest): Record<string, unknown> {
  const { history, inputIds, beamWidth, constraint, attributes, diversity, explain } = message;
  const body: Record<string, unknown> = { catalog: message.catalog };
  if (inputIds.length === 0 || history.length > 0) body.history = history;
  if (inputIds.length > 0) body.inputIds = inputIds;
  if (beamWidth.length > 0) body.beamWidth = beamWidth.length === 1 ? beamWidth[0] : beamWidth;
  if (constraint !== undefined) body.constraint = constraintOf(constraint);
  if (attributes.length > 0) body.attributes = attributes;
  if (diversity !== undefined) body.diversity = { attribute: diversity.attribute, max: diversity.max };
  if (explain !== undefined) body.explain = explain.items.length === 0 ? true : { items: explain.items };
  if (message.k !== undefined) body.k = message.k;
  if (message.excludeHistory !== undefined) body.excludeHistory = message.excludeHistory;
  if (message.normalize !== undefined) body.normalize = message.normalize;
  if (message.temperature !== undefined) body.temperature = message.temperature;
  if (message.timeoutMs !== undefined) body.timeoutMs = message.timeoutMs;
  return body;
}

function constraintOf({ set, filter, params, include, exclude }: Constraint): Record<string, unknown> {
  const constraint: Record<string, unknown> = {};
  if (set !== undefined) constraint.set = set;
  if (filter !== undefined) constraint.filter = filter;
  if (params !== undefined) constraint.params = params;
  if (include !== undefined) constraint.include = include.ids;
  if (exclude.length > 0) constraint.exclude = exclude;
  return constraint;
}

type ResponseInit = MessageInitShape<typeof RecommendResponseSchema>;

/** An answer as a message: their fields have the same names, and only null is not a message's. */
export function responseOf({ explain, ...answer }: RecommendAnswer): ResponseInit {
  if (explain === undefined) return answer as ResponseInit;
  const items = explain.items?.map(({ score, cut, ...item }) => ({
    ...item,
    ...(typeof score === 'number' && { score }),
    ...(typeof cut === 'number' && { cut }),
  }));
  return { ...answer, explain: { steps: explain.steps, items: items ?? [] } } as ResponseInit;
}
