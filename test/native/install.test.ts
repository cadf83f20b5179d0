import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
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
  it.skipIf(reason)('from the packed tarball builds the kernels and runs', { timeout: 300_000 }, () => {
    // The scripts of the pack itself are those that `npm test` has run already.
    const packed = run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder], root);
    expect(packed.status, packed.stderr).toBe(0);
    const tarball = readdirSync(folder).find((name) => name.endsWith('.tgz'))!;
    const app = join(folder, 'app');
    mkdirSync(app);
    writeFileSync(join(app, 'package.json'), '{"private": true}');
    const install = run('npm', ['install', '--no-audit', '--no-fund', join(folder, tarball)], app, {
      ONNXRUNTIME_NODE_INSTALL: 'skip',
    });
    expect(install.status, install.stderr).toBe(0);
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
  });
});
