import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Gauge, type Registry } from 'prom-client';

const RESOLUTION_MS = 5;
const QUANTILES = [0.5, 0.99, 1] as const;

/**
 * How late this thread's timers are: what every request waits for beside its own work. The default metrics'
 * `nodejs_eventloop_lag_…` contain the timer's own period; here a loop with nothing to do shows 0.
 */
export function registerEventLoopMetrics(registry: Registry): void {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  delay.enable();
  new Gauge({
    name: 'espalier_event_loop_delay_seconds',
    help: 'How late the timers of the HTTP thread were since the last scrape; quantile 1 is the longest.',
    labelNames: ['quantile'],
    registers: [registry],
    collect() {
      for (const quantile of QUANTILES) {
        const nanoseconds = delay.count === 0 ? 0 : delay.percentile(quantile * 100);
        this.set({ quantile: String(quantile) }, Math.max(0, nanoseconds / 1e9 - RESOLUTION_MS / 1e3));
      }
      delay.reset();
    },
  });
}
