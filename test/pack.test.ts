import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = new URL('..', import.meta.url).pathname;

/** What a user needs, and what is needed to build the native kernels. */
const ALLOWED = [
  /^(package\.json|README\.md|LICENSE|NOTICE|CHANGELOG\.md|binding\.gyp)$/,
  /^dist\/([\w-]+\/)*[\w-]+\.(d\.)?ts$/,
  /^dist\/([\w-]+\/)*[\w-]+\.js$/,
  /^docs\/[\w-]+\.(md|svg)$/,
  /^docs\/benchmarks(\/[\w-]+\.svg|\.html)$/,
  /^deploy\/([\w-]+\/)*[\w.-]+$/,
  /^proto\/([\w-]+\/)*[\w-]+\.proto$/,
  /^native\/(include|common|cpu|binding)\/([\w-]+\/)*[\w.-]+$/,
  /^native\/CMakeLists\.txt$/,
  /^native\/cuda\/[\w-]+\.(cpp|cu|h|cmake|map|txt)$/,
  /^scripts\/build-(cuda|native)\.mjs$/,
];
const NEEDED = [
  'LICENSE',
  'NOTICE',
  'README.md',
  'CHANGELOG.md',
  'binding.gyp',
  'scripts/build-cuda.mjs',
  'scripts/build-native.mjs',
  'native/common/step_rules.h',
  'native/CMakeLists.txt',
  'native/cuda/CMakeLists.txt',
  'native/cuda/step.cu',
  'dist/cli/main.js',
  'dist/client/index.js',
  'dist/client/index.d.ts',
  'docs/operating.md',
  'docs/configuration.md',
  'docs/http-api.md',
  'deploy/systemd/espalier.service',
  'deploy/prometheus/alerts.yml',
  'native/include/espalier.h',
];

describe('the package', () => {
  it('ships what a user needs, and nothing else', () => {
    const args = ['pack', '--dry-run', '--json', '--ignore-scripts'];
    const { stdout } = spawnSync('npm', args, { cwd: root, encoding: 'utf8' });
    const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
    const paths = files.map(({ path }) => path);
    expect(paths.filter((path) => !ALLOWED.some((pattern) => pattern.test(path)))).toEqual([]);
    expect(NEEDED.filter((path) => !paths.includes(path))).toEqual([]);
    const text = paths.filter((path) => /\.(js|ts|md|ya?ml|json|service|mjs|proto)$/.test(path));
    const named = text.filter((path) =>
      /\/(work|home|root)\/\w/.test(readFileSync(join(root, path), 'utf8')),
    );
    expect(named, 'paths of the machine that packed it').toEqual([]);
  });

  it('exports only what it ships', () => {
    const { exports: entries, bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      exports: Record<string, string>;
      bin: Record<string, string>;
    };
    for (const path of [...Object.values(entries), ...Object.values(bin)]) {
      expect(() => readFileSync(join(root, path)), path).not.toThrow();
      if (path.endsWith('index.js')) readFileSync(join(root, path.replace(/\.js$/, '.d.ts')));
    }
  });
});
