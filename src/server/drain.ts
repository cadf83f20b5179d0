import type { Http2Server, Http2Session } from 'node:http2';

/** What the server listens with. Whatever its protocol, a stop closes all of them alike, and at the same time. */
export interface Drainable {
  /**
   * Takes no more connections and requests, lets those in flight finish, and then closes their connections.
   * @param graceMs what is still in flight then is cut off
   */
  close(graceMs: number): Promise<void>;
}

export async function drainAll(drainables: readonly Drainable[], graceMs: number): Promise<void> {
  await Promise.all(drainables.map((drainable) => drainable.close(graceMs)));
}

/**
 * Closes an HTTP/2 server, as gRPC listens with: clients are told to go away, their streams may finish. Node itself
 * would wait for clients to leave by themselves, idle ones too.
 * @param server without connections yet
 */
export function drainHttp2(server: Http2Server): Drainable {
  const sessions = new Set<Http2Session>();
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
  return {
    async close(graceMs) {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Sends GOAWAY, and closes once the last stream has ended.
      for (const session of sessions) session.close();
      const timer = setTimeout(() => {
        for (const session of sessions) session.destroy();
      }, graceMs);
      await closed;
      clearTimeout(timer);
    },
  };
}
