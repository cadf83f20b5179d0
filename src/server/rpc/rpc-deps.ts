import { createContextKey } from '@connectrpc/connect';
import type { FastifyInstance } from 'fastify';
import type { AppDeps } from '../http/app-deps.js';
import type { Guard } from './guard.js';
import type { CallWatch } from './watched-calls.js';

/** What calls work with. */
export interface RpcDeps extends Pick<AppDeps, 'recommend' | 'config' | 'notReadyReasons' | 'metrics'> {
  /** Management calls go through it, so that limits, keys and errors are those of HTTP. */
  app: FastifyInstance;
  guard: Guard;
  /** Around calls that the HTTP application does not see. */
  watch?: CallWatch;
  /** Aborted when the server stops: calls that would wait for ever end then. */
  closing: AbortSignal;
}

/** The caller's address, for what limits and logs. */
export const remoteAddress = createContextKey<string | undefined>(undefined, {
  description: 'remote address',
});
