/** What BullMQ's keys begin with; servers with other data directories on the same Redis never meet. */
export function queuePrefix(identity: string): string {
  return `espalier:${identity}`;
}

export const QUEUE = 'work';

/** Set where a job is cancelled; whoever works on it looks there. */
export function cancelKey(prefix: string, id: string): string {
  return `${prefix}:cancelled:${id}`;
}
