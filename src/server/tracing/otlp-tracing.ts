import { type Context, ROOT_CONTEXT, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { type ExportResult, ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { resourceFromAttributes } from '@opentelemetry/resources';
import {
  BatchSpanProcessor,
  NodeTracerProvider,
  ParentBasedSampler,
  type ReadableSpan,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-node';
import type { Timings } from '../../decoder/index.js';
import { packageVersion } from '../package-version.js';
import type { RequestTrace, TraceCarrier, TracedEnd, Tracing } from './tracing.js';

const EXPORT_TIMEOUT_MS = 5_000;
const EXPORT_EVERY_MS = 1_000;
/** Spans that wait to be sent; further ones are dropped, so that a collector that is gone costs no memory. */
const MAX_WAITING_SPANS = 4_096;

const carrierGetter = {
  get: (carrier: TraceCarrier, key: string) => carrier[key],
  keys: (carrier: TraceCarrier) => Object.keys(carrier),
};

/** Spans over OTLP/HTTP. Nothing global is set: libraries that look for a tracer find none. */
export class OtlpTracing implements Tracing {
  readonly #provider: NodeTracerProvider;
  readonly #propagator = new W3CTraceContextPropagator();

  /** @param share of the requests without a trace of their own; those with one go by its sampled flag */
  constructor(url: string, share: number, onError: (message: string) => void) {
    const exporter = new OTLPTraceExporter({ url, timeoutMillis: EXPORT_TIMEOUT_MS });
    this.#provider = new NodeTracerProvider({
      resource: resourceFromAttributes({ 'service.name': 'espalier', 'service.version': packageVersion() }),
      sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(share) }),
      spanProcessors: [
        new BatchSpanProcessor(new TellingExporter(exporter, onError), {
          maxQueueSize: MAX_WAITING_SPANS,
          scheduledDelayMillis: EXPORT_EVERY_MS,
          exportTimeoutMillis: EXPORT_TIMEOUT_MS,
        }),
      ],
    });
  }

  begin(method: string, carrier: TraceCarrier): RequestTrace | undefined {
    const tracer = this.#provider.getTracer('espalier');
    const parent = this.#propagator.extract(ROOT_CONTEXT, carrier, carrierGetter);
    const attributes = { 'http.request.method': method };
    const span = tracer.startSpan(method, { kind: SpanKind.SERVER, attributes }, parent);
    if (!span.isRecording()) return undefined;
    return new OtlpRequestTrace(this.#provider, span, trace.setSpan(parent, span), method);
  }

  async close(): Promise<void> {
    // It rejects where the last spans could not be sent; that was told, and the rest of the server must close.
    await this.#provider.shutdown().catch(() => {});
  }
}

class OtlpRequestTrace implements RequestTrace {
  readonly #provider: NodeTracerProvider;
  readonly #span: Span;
  readonly #context: Context;
  readonly #method: string;

  constructor(provider: NodeTracerProvider, span: Span, context: Context, method: string) {
    this.#provider = provider;
    this.#span = span;
    this.#context = context;
    this.#method = method;
  }

  addDecode({ queueMs, prefillMs, modelMs, constraintMs, totalMs }: Timings): void {
    const tracer = this.#provider.getTracer('espalier');
    let atMs = performance.timeOrigin + performance.now() - totalMs;
    // Model runs and constraint steps take turns; here each is one span as long as all of them.
    const stages = [
      ['queue', queueMs],
      ['prefill', prefillMs],
      ['model', modelMs - prefillMs],
      ['constraint', constraintMs],
    ] as const;
    for (const [name, ms] of stages) {
      const startTime = atMs;
      atMs += Math.max(0, ms);
      tracer.startSpan(name, { startTime }, this.#context).end(atMs);
    }
  }

  end({ route, status, errorCode }: TracedEnd): void {
    this.#span.updateName(`${this.#method} ${route}`);
    this.#span.setAttributes({
      'http.route': route,
      'http.response.status_code': status,
      ...(errorCode !== undefined && { 'error.type': errorCode }),
    });
    if (status >= 500) this.#span.setStatus({ code: SpanStatusCode.ERROR });
    this.#span.end();
  }
}

/** Says when spans could not be sent; the processor would say it to a global logger that nobody reads. */
class TellingExporter implements SpanExporter {
  readonly #exporter: SpanExporter;
  readonly #onError: (message: string) => void;

  constructor(exporter: SpanExporter, onError: (message: string) => void) {
    this.#exporter = exporter;
    this.#onError = onError;
  }

  export(spans: ReadableSpan[], done: (result: ExportResult) => void): void {
    this.#exporter.export(spans, (result) => {
      if (result.code === ExportResultCode.FAILED) {
        this.#onError(
          `${spans.length} spans could not be sent: ${result.error?.message ?? 'no reason given'}`,
        );
      }
      done(result);
    });
  }

  shutdown(): Promise<void> {
    return this.#exporter.shutdown();
  }

  async forceFlush(): Promise<void> {
    await this.#exporter.forceFlush?.();
  }
}
