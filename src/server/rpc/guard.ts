import type { IncomingHttpHeaders } from 'node:http';
import type { HandlerContext } from '@connectrpc/connect';
import type { Pressure } from '../http/pressure.js';
import { credentialsOf, type Gatekeeper } from '../security/gatekeeper.js';

/** Who may call what, for calls that do not pass through the HTTP application. */
export interface Guard {
  /**
   * @param path e.g. `/espalier.v1.RecommendationService/Recommend`
   * @throws EspalierError where the call is not allowed
   */
  check(headers: IncomingHttpHeaders, path: string, address: string | undefined): Promise<void>;
  /**
   * For a call that goes on after it was let in.
   * @throws EspalierError where its key does not allow it any more
   */
  recheck(headers: IncomingHttpHeaders, path: string): void;
}

/** For calls that the HTTP application has let in: it knows the route, but not what it does. */
export function sheddingGuard(gatekeeper: Gatekeeper, pressure: Pressure): Guard {
  return {
    async check(_headers, path) {
      if (gatekeeper.needOf('POST', path) === 'recommend') pressure.admit();
    },
    recheck(headers, path) {
      gatekeeper.authorize(credentialsOf(headers), gatekeeper.needOf('POST', path));
    },
  };
}

/** The same keys and limits as over HTTP. */
export function guardOf(gatekeeper: Gatekeeper, pressure: Pressure): Guard {
  const shedding = sheddingGuard(gatekeeper, pressure);
  return {
    ...shedding,
    async check(headers, path, address) {
      await shedding.check(headers, path, address);
      const need = gatekeeper.needOf('POST', path);
      const principal = gatekeeper.authorize(credentialsOf(headers), need, address);
      if (need === 'recommend') await gatekeeper.count('recommend', principal, address ?? 'unknown');
    },
  };
}

/** `Guard.recheck` for one call. */
export function recheckOf(
  guard: Guard,
  { requestHeader, service, method }: Pick<HandlerContext, 'requestHeader' | 'service' | 'method'>,
): () => void {
  const headers = Object.fromEntries(requestHeader);
  const path = `/${service.typeName}/${method.name}`;
  return () => guard.recheck(headers, path);
}
