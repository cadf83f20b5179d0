import { spawnSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), 'espalier-cli-'));

function espalier(args: string[], environment: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, ...environment },
  });
  return { status, stdout, stderr };
}

describe('the espalier command', () => {
  it('prints help and version', () => {
    const help = espalier(['--help']);
    expect(help.status).toBe(0);
    expect(help.stdout).toMatch(/--data-dir +Folder .*\(required\) \[ESPALIER_DATA_DIR\]/);
    expect(espalier(['serve', '--help']).stdout).toBe(help.stdout);
    expect(espalier(['--version'])).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });

  it('says with --verbose what runs, and why steps do not run on a GPU', () => {
    const missing = join(folder, 'missing.so');
    const { status, stdout } = espalier(['--version', '--verbose'], { ESPALIER_CUDA_LIBRARY: missing });
    expect(status).toBe(0);
    expect(stdout.split('\n')).toEqual([
      expect.stringMatching(/^espalier +\d+\.\d+\.\d+$/),
      `node       ${process.version}`,
      expect.stringMatching(/^kernels {4}(js|js, scalar.*); runs: \w+$/),
      `cuda       unusable: ESPALIER_CUDA_LIBRARY names a file that is not there`,
      `           library ${missing}`,
      '',
    ]);
    const forced = espalier(['--version', '--verbose'], {
      ESPALIER_KERNELS: 'cuda',
      ESPALIER_CUDA_LIBRARY: missing,
    });
    expect(forced.stdout).toMatch(/runs: nothing, ESPALIER_KERNELS is cuda, but /);
    const off = espalier(['--version', '--verbose'], { ESPALIER_KERNELS: 'js' });
    expect(off.stdout).toContain('cuda       off: ESPALIER_KERNELS is js\n');
  });

  it.each([
    [[], 'expected a command, found none'],
    [['sreve'], 'unknown command sreve'],
    [['serve', '--prot', '80'], "Unknown option '--prot'"],
    [['serve', 'extra'], 'extra'],
    [['--version', 'extra'], 'unexpected extra'],
    [['--version', '--verbose', 'extra'], 'unexpected extra'],
  ])('answers %j with usage and exit code 2', (args, message) => {
    const { status, stderr } = espalier(args);
    expect(status).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr).toContain('Usage:');
  });

  it('merges file, environment and flags, the last winning', () => {
    const file = join(folder, 'config.json');
    writeFileSync(
      file,
      JSON.stringify({ dataDir: 'from-file', modelsDir: 'from-file', port: 1, host: 'from-file' }),
    );
    const { status, stdout } = espalier(['serve', '--config', file, '--check-config', '--port', '3'], {
      ESPALIER_PORT: '2',
      ESPALIER_HOST: 'from-environment',
    });
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      dataDir: 'from-file',
      host: 'from-environment',
      port: 3,
      logLevel: 'info',
    });
  });

  it('reports all faults of the configuration together, with where they come from', () => {
    const file = join(folder, 'bad.json');
    writeFileSync(file, JSON.stringify({ modelsDir: 'm', prot: 80 }));
    const { status, stderr } = espalier(['serve', '--config', file, '--check-config', '--port', '80 80'], {
      ESPALIER_LOG_LEVEL: 'loud',
      ESPALIER_DATA_DIRR: 'd',
    });
    expect(status).toBe(2);
    expect(stderr).toContain('--data-dir: expected a value, here or as ESPALIER_DATA_DIR, found nothing');
    expect(stderr).toContain('--port: port: expected an integer from 0 to 65535, found "80 80"');
    expect(stderr).toContain('ESPALIER_LOG_LEVEL: logLevel: expected one of trace, debug, info');
    expect(stderr).toContain('ESPALIER_DATA_DIRR: expected one of ESPALIER_DATA_DIR,');
    expect(stderr).toContain(`${file}: prot: expected one of dataDir, modelsDir`);
  });

  it('refuses an unknown kernel', () => {
    const args = ['serve', '--data-dir', join(folder, 'd'), '--models-dir', folder, '--port', '0'];
    const { status, stderr } = espalier(args, { ESPALIER_KERNELS: 'jss' });
    expect(status).toBe(1);
    expect(stderr).toContain(
      'ESPALIER_KERNELS must be one of auto, js, native, scalar, neon, avx2, avx512, cuda, found "jss"',
    );
  });
});
