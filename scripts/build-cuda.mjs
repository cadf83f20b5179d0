// Builds build/cuda/libespalier_cuda.so with CMake and nvcc, for steps on a GPU; nothing needs it. With --emulated, builds
// build/cuda/libespalier_cuda_emulated.so instead, which tests load where there is no GPU: it needs no nvcc. With --tests
// or --all, too, builds what tests run beside it, in build/cuda-emulated.
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { availableParallelism } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const LAST_LINES = 15;

const options = process.argv.slice(2);
const unknown = options.find((option) => !['--emulated', '--tests', '--all'].includes(option));
if (unknown !== undefined) stop(`there is no option ${unknown}; there are --emulated, --tests and --all`);
const isEmulated = options.includes('--emulated');
const target = isEmulated ? 'espalier_cuda_emulated' : 'espalier_cuda';
// With --all, also those that take long to build or to run.
const TESTS = ['hostile_test', 'cuda_step_test', 'cuda_library_test'];
const ALL_TESTS = [...TESTS, 'cuda_check', 'cuda_time'];
const tests = options.includes('--all') ? ALL_TESTS : options.includes('--tests') ? TESTS : [];
const targets = isEmulated ? [target, ...tests] : [target];
const library = join(root, 'build', 'cuda', `lib${target}.so`);

if (process.platform !== 'linux') stop(`CUDA libraries are built on Linux only, this is ${process.platform}`);
if (find('cmake', []) === undefined) stop('cmake was not found (Debian: apt-get install cmake)');
if (find('g++', []) === undefined && find('c++', []) === undefined) {
  stop('no C++ compiler was found (Debian: apt-get install g++)');
}
const nvcc = isEmulated ? undefined : findNvcc();
build();
console.log(`espalier: built ${library}`);

function build() {
  const folder = join(root, 'build', isEmulated ? 'cuda-emulated' : 'cuda-native');
  const configure = isEmulated
    ? // Fast to build rather than fast.
      ['-S', join(root, 'native'), '-B', folder, '-DCMAKE_BUILD_TYPE=None', '-DCMAKE_CXX_FLAGS=-O1']
    : ['-S', join(root, 'native', 'cuda'), '-B', folder, `-DCMAKE_CUDA_COMPILER=${nvcc}`];
  mkdirSync(dirname(library), { recursive: true });
  lock(`${folder}.lock`);
  run('cmake', configure);
  run('cmake', ['--build', folder, '--target', ...targets, '-j', String(availableParallelism())]);
  // Whoever has the old one open keeps it whole.
  copyFileSync(join(folder, `lib${target}.so`), `${library}.new`);
  renameSync(`${library}.new`, library);
}

/** Waits until nobody else builds in the folder; what ends this process gives it free. */
function lock(path) {
  for (;;) {
    try {
      writeFileSync(path, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (!isHeld(path)) rmSync(path, { force: true });
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
    }
  }
  process.on('exit', () => rmSync(path, { force: true }));
}

function isHeld(path) {
  try {
    process.kill(Number(readFileSync(path, 'utf8')), 0);
    return true;
  } catch (error) {
    // Whoever had it may just have gone with it.
    return error.code !== 'ESRCH';
  }
}

/** The one on the path, or the one of the usual folder. */
function findNvcc() {
  const home = process.env.CUDA_HOME ?? process.env.CUDA_PATH ?? '/usr/local/cuda';
  const found = find('nvcc', [join(home, 'bin')]);
  if (found === undefined) {
    stop(
      `nvcc was not found, neither on the path nor in ${join(home, 'bin')}: steps on a GPU need the CUDA toolkit, 12 or 13`,
    );
  }
  return found;
}

function find(command, folders) {
  return [...(process.env.PATH ?? '').split(delimiter), ...folders]
    .map((folder) => join(folder, command))
    .find((path) => existsSync(path));
}

function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (status === 0) {
    const warnings = `${stdout}${stderr}`.split('\n').filter((line) => /\bwarning\b/i.test(line));
    if (warnings.length > 0) console.error(warnings.join('\n'));
    return;
  }
  const output = error?.message ?? `${stdout}${stderr}`;
  stop(`${command} failed\n${output.trim().split('\n').slice(-LAST_LINES).join('\n')}`);
}

function stop(problem) {
  console.error(`espalier: lib${isEmulatedTarget()}.so could not be built: ${problem}`);
  process.exit(1);
}

function isEmulatedTarget() {
  return process.argv.includes('--emulated') ? 'espalier_cuda_emulated' : 'espalier_cuda';
}
