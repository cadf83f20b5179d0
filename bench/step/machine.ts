import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';

/** What a result depends on besides the code's parameters. */
export function describeMachine(kernel: string) {
  const git = (...args: string[]) => spawnSync('git', args, { encoding: 'utf8' }).stdout?.trim() ?? '';
  const commit = git('rev-parse', 'HEAD') || 'unknown';
  const isChanged = git('status', '--porcelain', '--untracked-files=no') !== '';
  return {
    machine: { cpu: cpus()[0].model, cores: cpus().length, node: process.version, kernel },
    commit: isChanged ? `${commit}, changed` : commit,
  };
}
