import { setTimeout as delay } from 'node:timers/promises';
import type { DescService } from '@bufbuild/protobuf';
import { Code, ConnectError, type ServiceImpl } from '@connectrpc/connect';
import {
  type Health,
  HealthCheckResponse_ServingStatus as Status,
} from './generated/grpc/health/v1/health_pb.js';
import type { RpcDeps } from './rpc-deps.js';

const WATCH_INTERVAL_MS = 250;

/**
 * The standard health service: every service serves when the server is ready, as `/readyz` says.
 * @param services those that can be asked for, beside the server as a whole ("").
 */
export function healthRpc(
  { notReadyReasons, closing }: Pick<RpcDeps, 'notReadyReasons' | 'closing'>,
  services: readonly DescService[],
): ServiceImpl<typeof Health> {
  const names = new Set(['', ...services.map(({ typeName }) => typeName)]);
  const statusOf = (service: string) => {
    if (!names.has(service)) return Status.SERVICE_UNKNOWN;
    return !closing.aborted && notReadyReasons().length === 0 ? Status.SERVING : Status.NOT_SERVING;
  };
  return {
    check({ service }) {
      const status = statusOf(service);
      if (status !== Status.SERVICE_UNKNOWN) return { status };
      throw new ConnectError(`there is no service ${service.slice(0, 200)}`, Code.NotFound);
    },

    async *watch({ service }, { signal }) {
      const stop = AbortSignal.any([signal, closing]);
      let last: Status | undefined;
      while (!signal.aborted) {
        const status = statusOf(service);
        if (status !== last) yield { status };
        last = status;
        if (closing.aborted) return;
        await delay(WATCH_INTERVAL_MS, undefined, { signal: stop, ref: false }).catch(() => {});
      }
    },
  };
}
