/** What runs until a signal, and can be stopped. */
export interface Running {
  close(): Promise<void>;
  /** Ends what would outlive this process if it were killed. */
  abandon?(): void;
}

/**
 * Waits for SIGTERM or SIGINT, and stops. A second signal, or the end of the time, ends the process at once by SIGKILL:
 * `process.exit` would wait for threads that are inside a model run, and then abort.
 * @param boundMs time for the stop
 */
export async function untilSignal(running: Running, boundMs: number): Promise<never> {
  const first = await nextSignal();
  const end = (why: string) => {
    console.error(`Espalier ends at once: ${why}; jobs go on at the next start`);
    running.abandon?.();
    process.kill(process.pid, 'SIGKILL');
  };
  void nextSignal().then((second) => end(`${second} after ${first}`));
  const timer = setTimeout(() => end(`it has not stopped within ${boundMs} ms of ${first}`), boundMs);
  await running.close();
  clearTimeout(timer);
  // Everything has ended; only BullMQ's timers for a Redis that is gone would keep the process.
  process.exit(0);
}

function nextSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    const onSignal = (signal: NodeJS.Signals) => {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
      resolve(signal);
    };
    process.on('SIGINT', onSignal);
    process.on('SIGTERM', onSignal);
  });
}
