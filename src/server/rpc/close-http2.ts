import type { Http2Server, ServerHttp2Session } from 'node:http2';

const sessionsOf = new WeakMap<Http2Server, Set<ServerHttp2Session>>();

/** Remembers a server's sessions, which it does not end by itself. To be called before it listens. */
export function trackSessions(server: Http2Server): void {
  const sessions = new Set<ServerHttp2Session>();
  sessionsOf.set(server, sessions);
  server.on('session', (session) => {
    sessions.add(session);
    session.once('close', () => sessions.delete(session));
  });
}

/** Takes no more calls, lets those in flight finish, and destroys after `graceMs` what has not ended by then. */
export async function closeHttp2(server: Http2Server, graceMs: number): Promise<void> {
  const sessions = sessionsOf.get(server) ?? new Set();
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  for (const session of sessions) session.close();
  const timer = setTimeout(() => {
    for (const session of sessions) session.destroy();
  }, graceMs);
  await closed;
  clearTimeout(timer);
}
