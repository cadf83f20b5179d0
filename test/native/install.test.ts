import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { attributes, items, sid } from '../helpers/small-server.js';
import { missingTools, root } from './tools.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-install-'));

function run(command: string, args: string[], cwd: string, env: NodeJS.ProcessEnv = {}) {
  return spawnSync(command, args, { cwd, encoding: 'utf8', env: { ...process.env, ...env } });
}

/** A folder with a small array of SIDs, to build a trie from. */
function writeSids(path: string): void {
  const header = Buffer.alloc(128, ' ');
  header.write('\x93NUMPY\x01\x00', 'latin1');
  header.writeUInt16LE(118, 8);
  header.write("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 2), }", 10);
  header.write('\n', 127);
  writeFileSync(path, Buffer.concat([header, Buffer.from([1, 2, 0, 3, 1, 2])]));
}

describe('an install', () => {
  it('succeeds without a compiler, and says so once', { timeout: 120_000 }, () => {
    const copy = join(folder, 'copy');
    mkdirSync(join(copy, 'scripts'), { recursive: true });
    cpSync(join(root, 'scripts/build-native.mjs'), join(copy, 'scripts/build-native.mjs'));
    cpSync(join(root, 'binding.gyp'), join(copy, 'binding.gyp'));
    cpSync(join(root, 'native'), join(copy, 'native'), { recursive: true });
    const bin = join(folder, 'bin');
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
    const { status, stdout, stderr } = run(process.execPath, ['scripts/build-native.mjs'], copy, {
      PATH: bin,
    });
    expect([status, stdout]).toEqual([0, '']);
    expect(stderr.match(/the native kernels could not be built/g)).toHaveLength(1);
    expect(stderr).toContain('npm rebuild espalier');
    expect(existsSync(join(copy, 'build/Release/espalier.node'))).toBe(false);
  });

  const reason = missingTools('g++');
  it.skipIf(reason)(
    'from the packed tarball builds the kernels, runs and serves',
    { timeout: 300_000 },
    async () => {
      const app = join(folder, 'app');
      install(app);
      const home = join(app, 'node_modules/espalier');
      expect(existsSync(join(home, 'build/Release/espalier.node'))).toBe(true);
      const espalier = (args: string[], kernel: string) =>
        run(join(app, 'node_modules/.bin/espalier'), args, app, { ESPALIER_KERNELS: kernel });
      const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as { version: string };
      expect(espalier(['--version'], 'auto').stdout).toContain(version);
      const names = ['espalier', 'espalier/static-trie', 'espalier/decoder'];
      const imports = names.map((name) => `typeof (await import('${name}')).EspalierError`).join(', ');
      const library = run('node', ['--input-type=module', '-e', `console.log([${imports}].join())`], app);
      expect([library.stdout, library.stderr]).toEqual(['function,function,function\n', '']);
      writeSids(join(app, 'sids.npy'));
      for (const kernel of ['native', 'js']) {
        const args = [
          'index',
          'build',
          '--sids',
          'sids.npy',
          '--codebook-sizes',
          '4,4',
          '--out',
          `${kernel}.trie`,
        ];
        const built = espalier(args, kernel);
        expect([built.status, built.stderr]).toEqual([0, '']);
        expect(espalier(['index', 'verify', `${kernel}.trie`], 'auto').status).toBe(0);
      }
      expect(readFileSync(join(app, 'native.trie'))).toEqual(readFileSync(join(app, 'js.trie')));
      expect(await serveAndRecommend(app)).toEqual({ kernel: expect.not.stringMatching('^js$'), best: RED });
      typeCheckClient(app);
    },
  );

  it('from the packed tarball serves without a compiler, too', { timeout: 300_000 }, async () => {
    const app = join(folder, 'app-without-compiler');
    // A shell to run scripts, and node: no compiler, no make, no Python.
    const bin = join(folder, 'bin-without-compiler');
    mkdirSync(bin);
    symlinkSync(process.execPath, join(bin, 'node'));
    symlinkSync('/bin/sh', join(bin, 'sh'));
    install(app, { PATH: bin });
    expect(existsSync(join(app, 'node_modules/espalier/build/Release/espalier.node'))).toBe(false);
    expect(await serveAndRecommend(app)).toEqual({ kernel: 'js', best: RED });
  });
});

/** The red items of the small catalog. */
const RED = ['0-0', '1-0'];

/** Installs the packed tarball into an empty folder. The scripts of the pack itself have run already. */
function install(app: string, env: NodeJS.ProcessEnv = {}): void {
  mkdirSync(app);
  const packed = run('npm', ['pack', '--ignore-scripts', '--pack-destination', app], root);
  expect(packed.status, packed.stderr).toBe(0);
  const tarball = readdirSync(app).find((name) => name.endsWith('.tgz'))!;
  writeFileSync(join(app, 'package.json'), '{"private": true, "type": "module"}');
  const npm = realpathSync(run('which', ['npm'], app).stdout.trim());
  const options = ['install', '--prefer-offline', '--no-audit', '--no-fund', `./${tarball}`];
  const { status, stderr } = run(process.execPath, [npm, ...options], app, {
    ONNXRUNTIME_NODE_INSTALL: 'skip',
    ...env,
  });
  expect(status, stderr).toBe(0);
}

/** Starts the installed server on a small model, and asks it through the installed client. */
async function serveAndRecommend(app: string): Promise<unknown> {
  const models = join(app, 'models');
  cpSync(join(root, 'test/fixtures/models/table'), join(models, 'table'), { recursive: true });
  const args = ['serve', '--data-dir', join(app, 'data'), '--models-dir', models, '--port', '0'];
  const server = spawn(join(app, 'node_modules/.bin/espalier'), [...args, '--log-level', 'fatal'], {
    cwd: app,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const ended = once(server, 'exit');
  try {
    let url: string | undefined;
    for await (const line of createInterface({ input: server.stderr })) {
      url = /listens on (\S+)/.exec(line)?.[1];
      if (url !== undefined) break;
    }
    const script = `
      import { EspalierClient } from 'espalier/client';
      const client = new EspalierClient({ url: ${JSON.stringify(url)} });
      await client.catalogs.put('small', ${JSON.stringify({ model: 'table', sid, attributes })});
      const { job } = await client.catalogs.upload('small', ${JSON.stringify(items)}, { activate: true });
      await client.jobs.wait(job.id);
      const answer = await client.recommend({ catalog: 'small', history: [], constraint: { filter: 'colour == "red"' } });
      const best = answer.items.map(({ id }) => id).sort();
      console.log(JSON.stringify({ kernel: (await client.health()).kernel, best }));`;
    const asked = run('node', ['--input-type=module', '-e', script], app);
    expect(asked.stderr).toBe('');
    return JSON.parse(asked.stdout);
  } finally {
    server.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  }
}

/** What an editor says of a program that uses the installed client. */
function typeCheckClient(app: string): void {
  const program = `
    import { EspalierClient, EspalierClientError, type RecommendRequest } from 'espalier/client';
    const request: RecommendRequest = { catalog: 'small', history: ['a'], k: 3, normalize: 'level' };
    const client = new EspalierClient({ url: 'http://localhost:1' });
    const { items } = await client.recommend<{ price: number }>(request);
    export const price: number = items[0].attributes.price;
    export const version: number | null = (await client.catalogs.get('small')).activeVersion;
    // @ts-expect-error a misspelt field
    await client.recommend({ catalog: 'small', histroy: [] });
    // @ts-expect-error a price is no text
    export const title: string = items[0].attributes.price;
    export const isOurs = (error: unknown) => error instanceof EspalierClientError && error.code === 'ESP_TIMEOUT';`;
  writeFileSync(join(app, 'program.ts'), program);
  const compilerOptions = {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: 'es2023',
    lib: ['es2023', 'dom'],
    module: 'nodenext',
    types: [],
  };
  writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
  const { status, stdout } = run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc')], app);
  expect([status, stdout]).toEqual([0, '']);
}
