import type { Config } from '../config.js';
import type { Tracing } from './tracing.js';

/**
 * Traces where they are configured. The libraries for it are loaded only then.
 * @param onError gets what keeps spans from being sent
 */
export async function startTracing(
  { otlpUrl, traceShare }: Pick<Config, 'otlpUrl' | 'traceShare'>,
  onError: (message: string) => void,
): Promise<Tracing | undefined> {
  if (otlpUrl === undefined) return undefined;
  const { OtlpTracing } = await import('./otlp-tracing.js');
  return new OtlpTracing(otlpUrl, traceShare, onError);
}
