import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/*
 * How many instructions the native step and builder take on fixed inputs: a number that neighbours on a machine do not
 * change, so that it can be held against a committed one. What is counted are the objects of the addon itself, as
 * npm run build:native left them. Callgrind knows no AVX-512.
 *   npm run instructions               prints the counts beside the committed ones
 *   npm run instructions -- --update   commits to what is counted now
 */
const root = fileURLToPath(new URL('..', import.meta.url));
const committedPath = join(root, 'test', 'native', 'instructions.json');
const objects = join(root, 'build', 'Release', 'obj.target');

export const works = ['build', 'step', 'step-set'] as const;
export const levels = ['scalar', 'avx2'] as const;

export interface Instructions {
  /** Another major version makes other code of the same source. */
  compiler: string;
  /** By work and level. */
  counts: Record<string, number>;
  /** By work: of what it came to, equal at every level. */
  hashes: Record<string, string>;
}

/** Of the committed count: libraries and minor versions of a compiler change little. */
export const TOLERANCE = 0.03;

export function committedInstructions(): Instructions {
  return JSON.parse(readFileSync(committedPath, 'utf8')) as Instructions;
}

/** What compiled the addon's objects, as `gcc 12`. @throws Error where there are none, or others than GCC's */
export function compilerOfObjects(): string {
  const object = join(objects, 'espalier', 'native', 'cpu', 'step.o');
  if (!existsSync(object)) throw new Error('the native kernels have not been built; npm run build:native');
  const version = /GCC: \([^)]*\) (\d+)\./.exec(readFileSync(object, 'latin1'))?.[1];
  if (version === undefined) throw new Error('the native kernels were not compiled by GCC');
  return `gcc ${version}`;
}

/** Needs valgrind and g++. @throws Error that has what they printed */
export function countInstructions(): Instructions {
  const compiler = compilerOfObjects();
  const binary = link();
  const counts: Record<string, number> = {};
  const hashes: Record<string, string> = {};
  for (const work of works) {
    for (const level of levels) {
      const { hash, count } = measure(binary, work, level);
      counts[`${work} ${level}`] = count;
      hashes[work] ??= hash;
      if (hashes[work] !== hash)
        throw new Error(`${work} comes to ${hash} at ${level}, to ${hashes[work]} before`);
    }
  }
  return { compiler, counts, hashes };
}

function link(): string {
  const folder = join(root, 'build', 'instructions');
  mkdirSync(folder, { recursive: true });
  const binary = join(folder, 'count_instructions');
  const cpu = ['espalier/native/cpu', 'espalier/native/cpu/levels'].flatMap((path) =>
    readdirSync(join(objects, path))
      .filter((name) => name.endsWith('.o'))
      .map((name) => join(objects, path, name)),
  );
  const perLevel = ['scalar', 'avx2', 'avx512'].map((level) =>
    join(objects, `espalier_${level}`, 'native', 'cpu', 'levels', `${level}.o`),
  );
  const source = join(root, 'native', 'tests', 'count_instructions.cpp');
  run('g++', ['-std=c++17', '-O1', source, ...cpu, ...perLevel, '-pthread', '-o', binary]);
  return binary;
}

function measure(binary: string, work: string, level: string): { hash: string; count: number } {
  const { stdout, stderr } = run('valgrind', [
    '--tool=callgrind',
    '--callgrind-out-file=/dev/null',
    '--collect-atstart=no',
    '--toggle-collect=measured_build',
    '--toggle-collect=measured_step',
    binary,
    work,
    level,
  ]);
  const count = Number(/Collected : (\d+)/.exec(stderr)?.[1]);
  if (!(count > 0)) throw new Error(`${work} ${level}: nothing was counted: ${stdout}${stderr}`);
  return { hash: stdout.trim(), count };
}

function run(command: string, args: string[]): { stdout: string; stderr: string } {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command}: ${error?.message ?? `exit ${status}`}\n${stdout}${stderr}`);
  return { stdout, stderr };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const isUpdate = process.argv.includes('--update');
  const found = countInstructions();
  const before = existsSync(committedPath) ? committedInstructions().counts : {};
  for (const [name, count] of Object.entries(found.counts)) {
    const change = before[name] ? `${((count / before[name] - 1) * 100).toFixed(2)} %` : 'new';
    console.log(`${name.padEnd(16)} ${String(count).padStart(12)} ${change.padStart(10)}`);
  }
  if (isUpdate) writeFileSync(committedPath, `${JSON.stringify(found, null, 2)}\n`);
}
