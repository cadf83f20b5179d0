import { setMaxListeners } from 'node:events';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from '@connectrpc/connect';
import type { RecommendAnswer } from '../../decoder/index.js';
import { EspalierError, fieldError } from '../../errors.js';
import { GuardedInput } from '../guarded-input.js';
import { inOrder } from '../in-order.js';
import { shuttingDown } from '../jobs/embedded-queue.js';
import { checkRequest } from '../recommend/check-request.js';
import type { RecommendContext, RecommendOutcome } from '../recommend/recommend-service.js';
import { publicInfoOf } from './errors.js';
import type {
  RecommendationService,
  RecommendRequest,
  RecommendResultSchema,
} from './generated/espalier/v1/recommendation_pb.js';
import { recheckOf } from './guard.js';
import { ourErrorOf } from './protocol-errors.js';
import { requestOf, responseOf } from './recommend-messages.js';
import type { RpcDeps } from './rpc-deps.js';
import { refuseUnknownFields } from './unknown-fields.js';
import { callId, callTrace } from './watched-calls.js';

const MAX_BATCH = 64;
/** Of one stream; they decode together. */
const MAX_IN_FLIGHT = 16;

type Result = MessageInitShape<typeof RecommendResultSchema>;

/** The main job, straight to the service that HTTP uses, after the same checks. */
export function recommendationRpc({
  recommend,
  metrics,
  guard,
  closing,
}: Pick<RpcDeps, 'recommend' | 'metrics' | 'guard' | 'closing'>): ServiceImpl<typeof RecommendationService> {
  async function answer(message: RecommendRequest, context: HandlerContext): Promise<RecommendAnswer> {
    const { signal } = context;
    const request = checkRequest(requestOf(message, context.timeoutMs()));
    try {
      return await recommend.recommend(request, contextOf(context));
    } catch (thrown) {
      throw signal.aborted ? abortedBy(signal.reason, thrown) : thrown;
    }
  }

  async function settled(message: RecommendRequest, context: HandlerContext): Promise<Result> {
    try {
      refuseUnknownFields(message);
      return { result: { case: 'answer', value: responseOf(await answer(message, context)) } };
    } catch (thrown) {
      if (context.signal.aborted) throw thrown;
      metrics.recordError(ourErrorOf(thrown).code);
      return { result: { case: 'error', value: publicInfoOf(thrown) } };
    }
  }

  return {
    recommend: async (message, context) => responseOf(await answer(message, context)),

    async recommendBatch({ requests }, context) {
      if (requests.length === 0 || requests.length > MAX_BATCH) {
        const found = `a list of ${requests.length} values`;
        throw fieldError('ESP_REQUEST_INVALID', 'requests', `1 to ${MAX_BATCH} requests`, found);
      }
      expectListeners(context);
      const bodies = requests.map((message) => requestOf(message, context.timeoutMs()));
      return { responses: (await recommend.recommendBatch(bodies, contextOf(context))).map(resultOf) };
    },

    async *recommendStream(requests, context) {
      expectListeners(context);
      const recheck = recheckOf(guard, context);
      const input = new GuardedInput(requests[Symbol.asyncIterator](), {
        look() {
          if (closing.aborted) throw shuttingDown();
          recheck();
        },
      });
      yield* inOrder(input, MAX_IN_FLIGHT, (request) => settled(request, context));
      if (input.ended === undefined) return;
      if (!context.signal.aborted) metrics.recordError(ourErrorOf(input.ended).code);
      throw input.ended;
    },
  };
}

function contextOf({ values, signal }: HandlerContext): RecommendContext {
  return { requestId: values.get(callId), trace: values.get(callTrace), signal };
}

function resultOf(outcome: RecommendOutcome): Result {
  if ('answer' in outcome) return { result: { case: 'answer', value: responseOf(outcome.answer) } };
  return { result: { case: 'error', value: publicInfoOf(outcome.error) } };
}

/** Each request of a call listens to its signal; Node takes more than ten for a leak. */
function expectListeners({ signal }: HandlerContext): void {
  setMaxListeners(2 * MAX_BATCH, signal);
}

/** The deadline aborts a call, too: who waited that long gets told so. */
function abortedBy(reason: unknown, thrown: unknown): unknown {
  const isDeadline = reason instanceof ConnectError && reason.code === Code.DeadlineExceeded;
  if (!isDeadline) return thrown;
  const message = "the call's deadline passed before the answer was ready";
  return new EspalierError('ESP_TIMEOUT', message, { cause: thrown });
}
