import { expect, it } from 'vitest';
import {
  committedInstructions,
  compilerOfObjects,
  countInstructions,
  TOLERANCE,
} from '../../scripts/count-instructions.js';
import { usableLevels } from '../../src/kernels/index.js';
import { named } from '../helpers/named.js';
import { missingTools } from './tools.js';

const committed = committedInstructions();

/** Why the committed counts say nothing here. */
function whyNot(): string | undefined {
  if (process.arch !== 'x64' || process.platform !== 'linux') return 'the counts are of Linux on x86-64';
  const missing = missingTools('valgrind', 'g++');
  if (missing !== undefined) return missing;
  if (!usableLevels().some(({ name }) => name === 'avx2')) return 'this machine has no AVX2, or no addon';
  let compiler: string;
  try {
    compiler = compilerOfObjects();
  } catch (thrown) {
    return (thrown as Error).message;
  }
  return compiler === committed.compiler
    ? undefined
    : `the counts are of ${committed.compiler}, and ${compiler} compiled the kernels`;
}

const reason = whyNot();
const title = 'step and builder take as many instructions as before, to within 3 %';

it.skipIf(reason)(named(title, reason), () => {
  const found = countInstructions();
  expect(found.hashes).toEqual(committed.hashes);
  expect(Object.keys(found.counts)).toEqual(Object.keys(committed.counts));
  const changed = Object.entries(found.counts).flatMap(([name, count]) => {
    const change = count / committed.counts[name] - 1;
    return Math.abs(change) <= TOLERANCE ? [] : [`${name}: ${(change * 100).toFixed(1)} %, now ${count}`];
  });
  // Meant, or better: npm run instructions -- --update
  expect(changed).toEqual([]);
});
