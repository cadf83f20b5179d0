import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Prometheus' own checker: the one that is installed, or the one in the Debian package, unpacked and not installed, as
 * that would start a Prometheus.
 * @returns its path, and the folder that is to be removed when it is done with; or why there is none
 */
export function findPromtool(): { path: string; folder?: string } | { missing: string } {
  if (spawnSync('which', ['promtool']).status === 0) return { path: 'promtool' };
  const folder = mkdtempSync(join(tmpdir(), 'espalier-promtool-'));
  const options = { cwd: folder, timeout: 60_000 };
  spawnSync('apt-get', ['download', 'prometheus'], options);
  const [archive] = readdirSync(folder).filter((name) => name.endsWith('.deb'));
  if (archive !== undefined) spawnSync('dpkg', ['-x', archive, '.'], options);
  const path = join(folder, 'usr/bin/promtool');
  if (existsSync(path)) return { path, folder };
  rmSync(folder, { recursive: true });
  return { missing: 'missing: promtool (Debian package prometheus)' };
}
