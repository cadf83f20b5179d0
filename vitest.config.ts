import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** The long variants of the property tests run twenty times as many cases. */
const timeoutMs = process.env.LONG_TESTS ? 1_800_000 : 120_000;

/** Files that take a minute or more: begun last, one of them would keep a single core busy at the end. */
const LONG_FILES = [
  'native/native',
  'native/cuda',
  'bench/suites',
  'kernels/cuda',
  'e2e/jobs-on-redis',
  'e2e/kill',
  'kernels/step.native',
  'e2e/persistence',
  'native/install',
  'e2e/bulk-jobs',
  'e2e/bulk-on-redis',
  'e2e/drain',
  'e2e/full-disk',
];

/** Left to `npm run test:long`: many servers, workers and builds are started in them, and a test run has twelve minutes. */
const LATER_FILES = process.env.LONG_TESTS
  ? []
  : [
      'test/decoder/engine-pool.test.ts',
      'test/e2e/batching.test.ts',
      'test/e2e/bulk-jobs.test.ts',
      'test/e2e/bulk-on-redis.test.ts',
      'test/e2e/bulk-stream.test.ts',
      'test/e2e/full-disk.test.ts',
      'test/e2e/jobs-on-redis.test.ts',
      'test/e2e/many-sets.test.ts',
      'test/e2e/model-restart.test.ts',
      'test/e2e/model-versions.test.ts',
      'test/e2e/no-paths.test.ts',
      'test/e2e/persistence.test.ts',
      'test/e2e/set-versions.test.ts',
      'test/e2e/upload-forms.test.ts',
      'test/native/install.test.ts',
    ];
if (LATER_FILES.length > 0) console.log(`skipped, left to npm run test:long: ${LATER_FILES.join(', ')}`);

class LongFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isLong = ({ moduleId }: TestSpecification) =>
      LONG_FILES.some((name) => moduleId.endsWith(`/test/${name}.test.ts`));
    const sorted = await super.sort(files);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: LATER_FILES,
    setupFiles: './test/helpers/clean-up.ts',
    globalSetup: './test/helpers/install-tools.ts',
    reporters: ['default', './test/helpers/closing-line-reporter.ts'],
    testTimeout: timeoutMs,
    hookTimeout: 120_000,
    // Worker threads of the server and ONNX sessions live in the test files' processes.
    pool: 'forks',
    // Loading the modules anew for each of 150 files takes longer than a tenth of the run.
    isolate: false,
    // One more than the cores that it is made for: many tests wait for processes and clocks.
    maxWorkers: 3,
    sequence: { sequencer: LongFilesFirst },
  },
});
