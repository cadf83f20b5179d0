import type { Timings } from '../../decoder/index.js';

/** Headers, or the like of other protocols. */
export type TraceCarrier = Readonly<Record<string, string | string[] | undefined>>;

/** How a request ended. */
export interface TracedEnd {
  /** The route's pattern, or the method of an RPC. */
  route: string;
  status: number;
  /** The code of its error. */
  errorCode?: string | undefined;
}

/** One request's span. */
export interface RequestTrace {
  /** Adds a decode, which has just ended, as spans below the request's, laid out one after the other. */
  addDecode(timings: Timings): void;
  end(end: TracedEnd): void;
}

export interface Tracing {
  /**
   * A request begins, as part of the caller's trace where it has one.
   * @param carrier with `traceparent` and `tracestate`
   * @returns undefined where the request is not to be traced
   */
  begin(method: string, carrier: TraceCarrier): RequestTrace | undefined;
  /** Sends what is left; waits for a bounded time. */
  close(): Promise<void>;
}
