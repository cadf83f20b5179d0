import { type CallHandlers, ProcessClient } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { WorkContext, WorkResult } from './work-queue.js';

/** How far work in a process of its own is, as it tells its parent. */
export interface WorkEvent {
  phase: string;
  fraction: number;
}

/**
 * Runs work in a process of its own: the memory that it takes is given back with it, its runtime's own threads are as
 * nice as the rest, and where it takes too much memory nobody else goes along.
 * @param script serves the handlers, one of which is `cancel`
 * @throws EspalierError the work's own; ESP_MEMORY where the process died
 */
export async function inWorkProcess<Handlers extends CallHandlers & { cancel(): void }>(
  script: URL,
  { onProgress, signal }: WorkContext,
  work: (child: ProcessClient<Handlers>) => Promise<object>,
): Promise<WorkResult> {
  const onEvent = (event: unknown) => {
    const { phase, fraction } = event as WorkEvent;
    onProgress(phase, fraction);
  };
  let death: string | undefined;
  const onFailure = ({ message }: EspalierError) => {
    death = message;
  };
  const child = new ProcessClient<Handlers>(script, null, onFailure, onEvent);
  // It may have ended on its own meanwhile.
  const cancel = () => void (child as unknown as Cancellable).call('cancel').catch(() => {});
  signal.addEventListener('abort', cancel, { once: true });
  try {
    if (signal.aborted) cancel();
    return { ...(await work(child)) };
  } catch (cause) {
    if (death === undefined) throw cause;
    const message = `the work did not end by itself, most likely for want of memory: ${death}`;
    throw new EspalierError('ESP_MEMORY', message, { cause });
  } finally {
    signal.removeEventListener('abort', cancel);
    await child.close();
  }
}

interface Cancellable {
  call(name: 'cancel'): Promise<void>;
}
