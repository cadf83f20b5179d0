import { missingTools } from '../native/tools.js';

/**
 * Installs redis-server, cmake and valgrind where they are missing, once for all test files: two that installed side by side
 * would get into each other's way. Where that is not possible, the tests that need it are skipped and say so.
 */
export default function setup(): void {
  const missing = missingTools('redis-server');
  if (missing !== undefined) console.warn(`tests of jobs on Redis are skipped; ${missing}`);
  // Where one is missing, the tests that need it say so themselves.
  missingTools('cmake');
  missingTools('valgrind');
}
