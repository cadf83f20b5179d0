import { EspalierError } from '../../errors.js';

/** Whether only this machine reaches an address that is listened on. */
export function isLoopback(host: string): boolean {
  return /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1|localhost)$/i.test(host);
}

/**
 * Without keys anybody on this machine is trusted, but not every page in its browser. A page elsewhere could reach the
 * server under a name of its own that it makes point to this machine (DNS rebinding), which the Host header tells; or
 * send a form, which its Origin tells.
 * @throws EspalierError ESP_HOST_REFUSED
 */
export function checkLocal(
  headers: { host?: string | undefined; origin?: string | undefined },
  listening: string,
): void {
  const { host, origin } = headers;
  const name = hostNameOf(`http://${host ?? ''}`);
  if (name === undefined || !(isLoopback(name) || name === listening.toLowerCase())) {
    throw refused('host', `localhost, 127.0.0.1, [::1] or ${listening}`, host ?? 'nothing');
  }
  if (origin === undefined) return;
  const isSame = URL.canParse(origin) && new URL(origin).host === new URL(`http://${host}`).host;
  if (!isSame) throw refused('origin', `http://${host}`, origin);
}

/** Lower case, and without the brackets of IPv6; undefined where it is no host. */
function hostNameOf(url: string): string | undefined {
  if (!URL.canParse(url)) return undefined;
  const { hostname, username, pathname } = new URL(url);
  return username === '' && pathname === '/' ? hostname.replace(/^\[(.*)\]$/, '$1') : undefined;
}

function refused(field: string, expected: string, found: string): EspalierError {
  const shown = found.slice(0, 200);
  const message = `${field}: without API keys only this machine is answered: expected ${expected}, found ${shown}`;
  return new EspalierError('ESP_HOST_REFUSED', message, { details: [{ field, expected, found: shown }] });
}
