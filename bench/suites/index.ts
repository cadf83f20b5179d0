import type { Suite } from '../harness/types.js';

/** All suites, in the order in which they run; loaded when they are wanted. */
export const suites: Readonly<Record<string, () => Promise<Suite>>> = {
  step: async () => (await import('./step.js')).step,
  sets: async () => (await import('./sets.js')).sets,
  build: async () => (await import('./build.js')).build,
  rules: async () => (await import('./rules.js')).rules,
  memory: async () => (await import('./memory.js')).memory,
  decode: async () => (await import('./decode.js')).decode,
  serve: async () => (await import('./serve.js')).serve,
  upload: async () => (await import('./upload.js')).upload,
  soak: async () => (await import('./soak.js')).soak,
};
