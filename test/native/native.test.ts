import { availableParallelism } from 'node:os';
import { describe, expect, it } from 'vitest';
import { named } from '../helpers/named.js';
import { missingTools, run } from './tools.js';

/*
 * The kernels without Node, under sanitizers and for another instruction set: native/tests against brute force,
 * and with arrays that lie. LONG_TESTS=1 gives each more time.
 */
const IS_LONG = process.env.LONG_TESTS !== undefined;
const CUDA_TESTS = ['cuda_step_test', 'cuda_library_test'];
const variants = [
  {
    name: 'address and undefined-behaviour sanitizers',
    folder: 'asan',
    options: ['-DESPALIER_SANITIZE=address,undefined'],
    cases: 2,
    isLong: true,
  },
  {
    name: 'thread sanitizer',
    folder: 'tsan',
    options: ['-DESPALIER_SANITIZE=thread'],
    cases: 1,
    isLong: true,
  },
  {
    name: 'NEON under qemu-user',
    folder: 'aarch64',
    options: ['-DCMAKE_TOOLCHAIN_FILE=aarch64.cmake'],
    cases: 3,
    isLong: true,
    emulator: 'qemu-aarch64',
    compiler: 'aarch64-linux-gnu-g++',
  },
];

for (const { name, folder, options, cases, emulator, compiler = 'g++', isLong = false } of variants) {
  // Each builds the kernels once more; together they would take a third of a test run.
  const isLater = isLong && !IS_LONG;
  // Fibers are none of the thread sanitizer's, nor of another machine's.
  const isCudaToo = IS_LONG && folder === 'asan';
  const reason = isLater
    ? 'npm run test:long'
    : missingTools('cmake', compiler, ...(emulator ? [emulator] : []));
  describe.skipIf(reason)(named(`native kernels, ${name}`, reason), () => {
    const build = `build/native-${folder}`;
    const test = (binary: string, ...args: string[]) =>
      emulator ? run(emulator, [`${build}/${binary}`, ...args]) : run(`${build}/${binary}`, args);

    it('build', { timeout: 300_000 }, () => {
      run('cmake', ['-S', 'native', '-B', build, ...options]);
      const targets = ['kernels_test', 'step_test', 'hostile_test', ...(isCudaToo ? CUDA_TESTS : [])];
      run('cmake', ['--build', build, '-j', String(availableParallelism()), '--target', ...targets]);
    });

    it('agree with brute force at every instruction set', { timeout: 900_000 }, () => {
      const printed = test('kernels_test', '--cases', String(IS_LONG ? cases * 20 : cases));
      console.log(printed.trim());
      expect(printed).toMatch(/, 0 failed; levels: scalar/);
      if (emulator) expect(printed).toContain('neon');
    });

    it('decode step by step like brute force', { timeout: 900_000 }, () => {
      const printed = test('step_test', '--cases', String(IS_LONG ? cases * 20 : cases));
      console.log(printed.trim());
      expect(printed).toMatch(/, 0 failed; levels: scalar/);
    });

    const noCuda = isCudaToo ? undefined : 'fibers run under the address sanitizer only';
    it.skipIf(noCuda)(
      named('run what a GPU runs, on a stand-in for it', noCuda),
      { timeout: 900_000 },
      () => {
        for (const binary of CUDA_TESTS) {
          const printed = test(`cuda/emulated/${binary}`, '--cases', '30');
          console.log(printed.trim());
          expect(printed).toMatch(/, 0 failed/);
        }
      },
    );

    it('survive arrays that lie', { timeout: 900_000 }, () => {
      const printed = test('hostile_test', '--seconds', IS_LONG ? '120' : '3');
      console.log(printed.trim());
      expect(printed).toMatch(/, 0 failed; levels: scalar/);
    });
  });
}
