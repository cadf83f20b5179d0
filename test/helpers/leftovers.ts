const leftovers: (() => unknown)[] = [];

/**
 * Calls `end` when the file's tests are over: a failed test leaves its servers and workers behind, and they must not
 * outlive the file. A hook of vitest's would do in a helper only where every file loads its helpers anew.
 */
export function endAfterFile(end: () => unknown): void {
  leftovers.push(end);
}

export async function endLeftovers(): Promise<void> {
  await Promise.all(leftovers.splice(0).map((end) => end()));
}
