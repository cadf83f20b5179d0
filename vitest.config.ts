import { defineConfig } from 'vitest/config';

/** The long variants of the property tests run twenty times as many cases. */
const timeoutMs = process.env.LONG_TESTS ? 1_800_000 : 120_000;

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['default', './test/helpers/closing-line-reporter.ts'],
    testTimeout: timeoutMs,
    hookTimeout: 120_000,
    // Worker threads of the server and ONNX sessions live in the test files' processes.
    pool: 'forks',
    maxWorkers: 2,
  },
});
