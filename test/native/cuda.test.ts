import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CudaResults, cudaPage } from '../../scripts/docs/cuda.js';
import { named } from '../helpers/named.js';
import { missingTools, root, run } from './tools.js';

/*
 * The CUDA side on machines without a GPU: its kernel and library run on a stand-in for a device, and nvcc, where there
 * is one, compiles them. What only a GPU can show, native/cuda/check.sh shows.
 */
const IS_LONG = process.env.LONG_TESTS !== undefined;
const folder = mkdtempSync(join(tmpdir(), 'espalier-cuda-'));
const built = 'build/cuda-emulated';
const page = readFileSync(join(root, 'docs/cuda.md'), 'utf8');

const isHere = (command: string) => spawnSync('which', [command]).status === 0;
const noCompiler = missingTools('cmake', 'g++');
const noPython = isHere('python3') ? undefined : 'missing: python3';
const noNvcc = isHere('nvcc') ? undefined : 'missing: nvcc (the CUDA toolkit)';

beforeAll(() => {
  if (!noCompiler)
    run(process.execPath, ['scripts/build-cuda.mjs', '--emulated', IS_LONG ? '--all' : '--tests']);
}, 600_000);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(noCompiler)(named('CUDA on a stand-in for a device', noCompiler), () => {
  it('steps as brute force does', { timeout: 300_000 }, () => {
    const printed = run(
      `${built}/cuda/emulated/cuda_step_test`,
      IS_LONG ? ['--cases', '4000', '--many-requests', '1'] : ['--cases', '100'],
    );
    console.log(printed.trim());
    expect(printed).toMatch(/, 0 failed/);
  });

  it('has a library that refuses what it must, and keeps nothing', { timeout: 300_000 }, () => {
    const printed = run(`${built}/cuda/emulated/cuda_library_test`, []);
    console.log(printed.trim());
    expect(printed).toMatch(/, 0 failed/);
  });

  it('survives arrays that lie', { timeout: 300_000 }, () => {
    const printed = run(`${built}/hostile_test`, ['--seconds', '3']);
    console.log(printed.trim());
    expect(printed).toMatch(/, 0 failed; levels: scalar/);
  });

  it.skipIf(noPython)(named('decodes from Python', noPython), { timeout: 300_000 }, () => {
    const library = 'build/cuda/libespalier_cuda_emulated.so';
    const { status, stdout, stderr } = spawnSync(
      'python3',
      ['examples/torch/test_espalier_cuda.py', library],
      {
        cwd: root,
        encoding: 'utf8',
      },
    );
    console.log(`${stdout}${stderr}`.trim());
    expect([status, stderr]).toEqual([0, expect.stringMatching(/^Ran [1-9]\d* tests/m)]);
  });

  const noLong = IS_LONG ? undefined : 'npm run test:long';
  const noCheck = IS_LONG ? noPython : 'npm run test:long';
  it.skipIf(noCheck)(
    named("runs check.sh's programs, the Python wrapper and their summary", noCheck),
    { timeout: 600_000 },
    () => {
      const options = ['--emulated', '--built', built, '--cases', IS_LONG ? '500' : '10'];
      const { status, stdout, stderr } = spawnSync('bash', ['native/cuda/check.sh', ...options], {
        cwd: root,
        encoding: 'utf8',
        env: { ...process.env, OUT: folder },
      });
      expect(status, `${stdout}${stderr}`).toBe(0);
      console.log(stdout.slice(stdout.indexOf('parts:')).trim());
      expect(stdout).toMatch(/^check: \d+ checks, 0 failed/m);
      expect(stdout).toMatch(/^time: 12 rows, 0 differ, 0 left out/m);
      expect(stdout).toMatch(/, 0 failed, /);
      const results = JSON.parse(readFileSync(join(folder, 'cuda.json'), 'utf8')) as CudaResults;
      // Times of the stand-in never get into the page; of a device, in this shape, they do.
      expect(() => cudaPage(page, results)).toThrow('not measured on a GPU');
      const asMeasured = cudaPage(page, { ...results, isEmulated: false });
      expect(asMeasured).toContain('| 2 | 6 | 64 | 3000 | – | dense | float32 |');
      expect(cudaPage(asMeasured, undefined)).toContain(
        '<!-- cuda table -->\nnot measured yet\n<!-- end -->',
      );
    },
  );

  it.skipIf(noLong)(named('keeps the rows of a table that is stopped', noLong), { timeout: 120_000 }, () => {
    const path = join(folder, 'stopped.json');
    // The device breaks amid them, which ends the program.
    const { status } = spawnSync(`${built}/cuda_time`, ['--out', path], {
      cwd: root,
      env: { ...process.env, EMULATED_CUDA: 'fail-launch=150' },
    });
    expect(status).not.toBe(0);
    const { rows, rowsLeftOut } = JSON.parse(readFileSync(path, 'utf8')) as NonNullable<CudaResults['time']>;
    expect(rows.length).toBeGreaterThan(0);
    expect(rowsLeftOut).toBeGreaterThan(0);
    expect(rows.length + rowsLeftOut).toBe(12);
  });

  it('gives each part what is left of the time, and leaves some for the next', { timeout: 60_000 }, () => {
    const fake = join(folder, 'fake');
    mkdirSync(fake);
    writeFileSync(join(fake, 'libespalier_cuda_emulated.so'), '');
    for (const program of ['cuda_check', 'cuda_time'])
      writeFileSync(join(fake, program), '#!/bin/sh\necho "asked: $*"\n', { mode: 0o755 });
    const secondsOf = (limit: number) => {
      const { stdout } = spawnSync(
        'bash',
        [
          'native/cuda/check.sh',
          '--emulated',
          '--only',
          'check,table',
          '--built',
          fake,
          '--limit',
          String(limit),
        ],
        { cwd: root, encoding: 'utf8', env: { ...process.env, OUT: join(folder, 'fake-out') } },
      );
      const parts = stdout.matchAll(/^== (\w+) \(at most (\d+) s\)\nasked: .*--seconds (\d+)/gm);
      return [...parts].map(([, name, most, seconds]) => ({ name, most: +most, seconds: +seconds }));
    };
    expect(secondsOf(465)).toEqual([
      { name: 'check', most: 125, seconds: 110 },
      { name: 'table', most: 150, seconds: 135 },
    ]);
    const [check, table] = secondsOf(130);
    // Some seconds may have passed on the way.
    expect(check.most).toBeLessThanOrEqual(40);
    expect(check.seconds).toBeLessThan(check.most);
    expect(table.most).toBeGreaterThan(90);
    expect(table.most - table.seconds).toBe(15);
  });

  it('ends with what has failed', { timeout: 60_000 }, () => {
    const empty = join(folder, 'empty');
    mkdirSync(empty);
    const { status, stdout } = spawnSync('bash', ['native/cuda/check.sh', '--emulated', '--built', empty], {
      cwd: root,
      encoding: 'utf8',
      env: { ...process.env, OUT: join(folder, 'failed') },
    });
    expect([status, stdout]).toEqual([1, expect.stringContaining('libespalier_cuda_emulated.so is missing')]);
  });
});

/** What ptxas says of each kernel. */
interface KernelUse {
  name: string;
  stackFrame: number;
  spillStores: number;
  spillLoads: number;
  registers: number;
}

function kernelUses(log: string): KernelUse[] {
  const uses =
    /Function properties for (\S+)\s+(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads[\s\S]*?Used (\d+) registers/g;
  return [...log.matchAll(uses)].map(([, name, ...numbers]) => {
    const [stackFrame, spillStores, spillLoads, registers] = numbers.map(Number);
    return { name, stackFrame, spillStores, spillLoads, registers };
  });
}

describe.skipIf(noNvcc)(named('CUDA by nvcc', noNvcc), () => {
  const strict = [
    '-std=c++17',
    '-arch=sm_90',
    '-Xcompiler',
    '-fPIC,-Wall,-Wextra',
    '-Werror',
    'all-warnings',
  ];
  const compile = (source: string, ...flags: string[]) =>
    finished('nvcc', [...strict, ...flags, '-c', source, '-o', objectOf(source)]);
  const objectOf = (source: string) => join(folder, `${source.replaceAll('/', '_')}.o`);

  let log = '';
  beforeAll(async () => {
    log = await compile('native/cuda/step.cu', '-O3', '-Xptxas', '-v');
  }, 600_000);

  it('the step keeps everything in registers, and has no warnings', () => {
    const uses = kernelUses(log);
    for (const use of uses) {
      console.log(
        `${use.name}: ${use.registers} registers, ${use.stackFrame} bytes of stack, ${use.spillStores} spilled`,
      );
    }
    expect(log).not.toMatch(/warning/i);
    // Three types of logits, at the top levels and below.
    expect(uses.length).toBeGreaterThanOrEqual(6);
    const inMemory = uses.filter(
      ({ stackFrame, spillStores, spillLoads }) => stackFrame + spillStores + spillLoads > 0,
    );
    expect(inMemory).toEqual([]);
  });

  const cannotLink = IS_LONG ? (noCompiler ?? noPython) : 'npm run test:long';
  it.skipIf(cannotLink)(
    named('a library that loads without a device, and says so in one line', cannotLink),
    { timeout: 600_000 },
    async () => {
      const files = readdirSync(join(root, 'native/cuda')).filter((name) => /\.(cpp|cu)$/.test(name));
      const sources = files.map((name) => `native/cuda/${name}`);
      // The rest needs no optimizing to be loaded.
      for (const source of sources.filter((name) => name !== 'native/cuda/step.cu'))
        await compile(source, '-O0');
      const library = join(folder, 'libespalier_cuda.so');
      const linker = ['-Xlinker', '--version-script=native/cuda/exports.map', '-Xlinker', '--no-undefined'];
      // All of it: the library exports what it does not call itself, too.
      for (const option of ['--whole-archive', `${built}/libespalier_cpu.a`, '--no-whole-archive']) {
        linker.push('-Xlinker', option);
      }
      const parts = sources.map(objectOf);
      await finished('nvcc', [
        '-shared',
        '-cudart',
        'static',
        ...parts,
        '-o',
        library,
        ...linker,
        '-lpthread',
      ]);
      const script = `
import sys
sys.path.insert(0, 'examples/torch')
import espalier_cuda
try:
    print('found', espalier_cuda.load('${library}').probe().name.decode())
except espalier_cuda.EspalierError as error:
    print(error)
`;
      const said = run('python3', ['-c', script]).trim();
      console.log(said);
      expect(said).toMatch(
        /^(found \S.*|UNSUPPORTED: (there is no|the driver is) .*(driver|device|CUDA).*)$/,
      );
    },
  );
});

/** Runs a command without keeping this thread from others; what it printed, or its failure. */
async function finished(command: string, args: string[]): Promise<string> {
  const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (printed += chunk));
  const code = await new Promise((resolve) => child.on('close', resolve));
  if (code !== 0) throw new Error(`${command} ${args.join(' ')}: exit ${code}\n${printed}`);
  return printed;
}
