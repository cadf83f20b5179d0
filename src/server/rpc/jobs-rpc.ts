import { createInterface } from 'node:readline';
import { fromJsonString } from '@bufbuild/protobuf';
import type { ServiceImpl } from '@connectrpc/connect';
import { type Bridge, segment } from './bridge.js';
import { JobResponseSchema, JobService } from './generated/espalier/v1/jobs_pb.js';
import { recheckOf } from './guard.js';
import type { RpcDeps } from './rpc-deps.js';

/** Jobs, as the HTTP routes have them. */
export function jobsRpc(
  bridge: Bridge,
  { closing, guard }: Pick<RpcDeps, 'closing' | 'guard'>,
): ServiceImpl<typeof JobService> {
  const { method } = JobService;
  const at = ({ id }: { id: string }) => `/v1/jobs/${segment('id', id)}`;
  return {
    getJob: bridge.unary(method.getJob, (message) => ({ method: 'GET', path: at(message) })),
    listJobs: bridge.unary(method.listJobs, (_message, json) => {
      const query = new URLSearchParams(
        Object.entries(json).map(([name, value]): [string, string] => [name, String(value)]),
      );
      return { method: 'GET', path: `/v1/jobs?${query}` };
    }),
    cancelJob: bridge.unary(method.cancelJob, (message) => ({ method: 'DELETE', path: at(message) })),
    async *watchJob(message, context) {
      const events = await bridge.stream(`${at(message)}/events`, context);
      const end = () => events.destroy();
      const stop = AbortSignal.any([context.signal, closing]);
      stop.addEventListener('abort', end, { once: true });
      if (stop.aborted) end();
      try {
        for await (const line of createInterface({ input: events })) {
          const data = /^data: (.*)$/.exec(line)?.[1];
          if (data !== undefined) {
            yield fromJsonString(JobResponseSchema, data, { ignoreUnknownFields: true });
          }
        }
      } finally {
        stop.removeEventListener('abort', end);
        end();
      }
      // Where it was not the job that ended the events, but the key.
      recheckOf(guard, context)();
    },
  };
}
