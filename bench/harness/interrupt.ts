/** Between two signals of one key: whoever starts a process may pass on what the process has got already. */
const ECHO_MS = 300;

/**
 * The first SIGINT or SIGTERM aborts what is running, which then ends with what it has; after that the next one ends
 * the process at once, as if nobody listened.
 */
export function listenForInterrupts(onFirst: () => void): { signal: AbortSignal; close(): void } {
  const controller = new AbortController();
  const signals = ['SIGINT', 'SIGTERM'] as const;
  let timer: NodeJS.Timeout | undefined;
  const stopListening = () => {
    clearTimeout(timer);
    for (const name of signals) process.off(name, onSignal);
  };
  function onSignal() {
    if (controller.signal.aborted) return;
    controller.abort(new Error('interrupted'));
    onFirst();
    timer = setTimeout(stopListening, ECHO_MS);
    timer.unref();
  }
  for (const name of signals) process.on(name, onSignal);
  return { signal: controller.signal, close: stopListening };
}
