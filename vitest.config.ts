import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/helpers/closing-line-reporter.ts'],
    testTimeout: 120_000,
    hookTimeout: 120_000,
    // Worker threads of the server and ONNX sessions live in the test files' processes.
    pool: 'forks',
    maxWorkers: 2,
  },
});
