import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem, type } from 'node:os';
import { fileURLToPath } from 'node:url';
import { chooseKernel, usableLevels } from '../../src/kernels/index.js';
import type { Machine } from './types.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

const MEASURED = ['src', 'native', 'bench', 'examples', 'package-lock.json'];

/** What a result depends on besides its parameters. */
export function describeMachine(): { machine: Machine; commit: string } {
  return {
    machine: {
      cpu: cpus()[0]?.model.trim() ?? 'unknown',
      cores: availableParallelism(),
      memoryBytes: totalmem(),
      cpuFeatures: usableLevels().map(({ name }) => name),
      node: process.version,
      os: `${type()} ${release()} ${process.arch}`,
      versions: {
        espalier: packageVersion('package.json'),
        onnxruntime: packageVersion('node_modules/onnxruntime-node/package.json'),
        addon: addonVersion(),
        kernel: chooseKernel().stepName,
        v8: process.versions.v8,
      },
    },
    commit: describeCommit(),
  };
}

/** The commit, and whether what is measured differs from it; reports are written while suites run. */
function describeCommit(): string {
  const git = (...args: string[]) => spawnSync('git', args, { cwd: root, encoding: 'utf8' }).stdout?.trim();
  const commit = git('rev-parse', 'HEAD') || 'unknown';
  const changed = git('status', '--porcelain', '--untracked-files=no', '--', ...MEASURED, ':!bench/results');
  return changed ? `${commit}, changed` : commit;
}

function packageVersion(path: string): string {
  return (JSON.parse(readFileSync(`${root}/${path}`, 'utf8')) as { version: string }).version;
}

/** The addon has no number of its own: two builds are the same where their bytes are. */
function addonVersion(): string {
  const path = `${root}/build/Release/espalier.node`;
  if (!existsSync(path)) return 'none';
  return createHash('sha256').update(readFileSync(path)).digest('hex').slice(0, 12);
}
