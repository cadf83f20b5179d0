import type { Suite } from '../harness/types.js';

/** All suites, in the order in which they run; loaded when they are wanted. */
export const suites: Readonly<Record<string, () => Promise<Suite>>> = {
  step: async () => (await import('./step.js')).step,
  sets: async () => (await import('./sets.js')).sets,
  build: async () => (await import('./build.js')).build,
  rules: async () => (await import('./rules.js')).rules,
  upload: async () => (await import('./upload.js')).upload,
  memory: async () => (await import('./memory.js')).memory,
};
