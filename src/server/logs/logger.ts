import { type DestinationStream, type Logger, pino } from 'pino';
import type { Config } from '../config.js';

/** Where credentials would stand, should anything log headers or requests. */
const SECRETS = ['authorization', 'cookie', '"x-api-key"', '"proxy-authorization"'].flatMap((name) => {
  const place = name.startsWith('"') ? `[${name}]` : `.${name}`;
  return [`headers${place}`, `*.headers${place}`];
});

/** JSON lines on standard output. @param destination elsewhere, for tests */
export function makeLogger({ logLevel }: Pick<Config, 'logLevel'>, destination?: DestinationStream): Logger {
  const options = { level: logLevel, redact: { paths: SECRETS, censor: '(redacted)' } };
  return destination === undefined ? pino(options) : pino(options, destination);
}
