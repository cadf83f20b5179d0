import type { DescService } from '@bufbuild/protobuf';
import type { ConnectRouter, ConnectRouterOptions } from '@connectrpc/connect';
import { Bridge } from './bridge.js';
import { catalogsRpc } from './catalogs-rpc.js';
import { constraintSetsRpc } from './constraint-sets-rpc.js';
import { CatalogService } from './generated/espalier/v1/catalogs_pb.js';
import { ConstraintSetService } from './generated/espalier/v1/constraint_sets_pb.js';
import { JobService } from './generated/espalier/v1/jobs_pb.js';
import { RecommendationService } from './generated/espalier/v1/recommendation_pb.js';
import { Health } from './generated/grpc/health/v1/health_pb.js';
import { healthRpc } from './health-rpc.js';
import { closedRequests, guardedBy, typedErrors } from './interceptors.js';
import { jobsRpc } from './jobs-rpc.js';
import { recommendationRpc } from './recommendation-rpc.js';
import type { RpcDeps } from './rpc-deps.js';
import { strictText } from './strict-json.js';
import { withTypedErrors } from './typed-answers.js';
import { named, watchedBy } from './watched-calls.js';

/** What clients can call. */
const ours = [RecommendationService, CatalogService, ConstraintSetService, JobService];
export const services: readonly DescService[] = [...ours, Health];

/** All services, for any transport. @param deps with an app that is ready when the first call comes. */
export function rpcRoutes(deps: RpcDeps): (router: ConnectRouter) => void {
  const { app, config, guard, closing, metrics, watch } = deps;
  const bridge = new Bridge(app);
  const common = [named(metrics), closedRequests, guardedBy(guard)];
  const around = watch === undefined ? [] : [watchedBy(watch)];
  const direct = { interceptors: [typedErrors(app.log), ...around, ...common] };
  // The application watches these, and checks each call again, for what it does. But before it has a call's first
  // message, which may be long in coming, nobody without a key is waited for.
  const bridged = { interceptors: [typedErrors(app.log), ...common] };
  const wait = { closing, bodyTimeoutMs: config.bodyTimeoutMs };
  return (router) => {
    router
      .service(RecommendationService, recommendationRpc(deps), direct)
      .service(CatalogService, catalogsRpc(bridge, wait), bridged)
      .service(ConstraintSetService, constraintSetsRpc(bridge, wait), bridged)
      .service(JobService, jobsRpc(bridge, deps), bridged)
      .service(Health, healthRpc(deps, ours), bridged);
    router.handlers.splice(0, Infinity, ...router.handlers.map(withTypedErrors));
  };
}

/** A misspelt field of JSON is refused, as over HTTP. */
const jsonOptions = { ignoreUnknownFields: false, textDecoder: strictText };

/** The bounds of every transport. */
export function rpcOptions({ config }: Pick<RpcDeps, 'config'>) {
  return {
    readMaxBytes: config.bodyLimitBytes,
    jsonOptions,
    // Answers are small, and packing them costs more than sending them.
    acceptCompression: [],
  } satisfies Partial<ConnectRouterOptions>;
}
