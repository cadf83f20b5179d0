/**
 * The first SIGINT or SIGTERM asks what runs to end with what it has; the next one ends the process at once, by
 * SIGKILL: threads may be inside a model run.
 */
export function listenForSignals(onSecond: () => void): { signal: AbortSignal; close(): void } {
  const controller = new AbortController();
  const onSignal = () => {
    if (!controller.signal.aborted) return controller.abort();
    onSecond();
    process.kill(process.pid, 'SIGKILL');
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return {
    signal: controller.signal,
    close() {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}
