import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** The commands that a test needs, by the Debian package that has them. */
const packages: Record<string, string> = {
  cmake: 'cmake',
  'g++': 'g++',
  'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu',
  'qemu-aarch64': 'qemu-user',
  'redis-server': 'redis-server',
  valgrind: 'valgrind',
};

/**
 * Installs what is missing where that is possible.
 * @returns why the test must be skipped, or undefined where every command is there
 */
export function missingTools(...commands: string[]): string | undefined {
  const isMissing = (command: string) => spawnSync('which', [command]).status !== 0;
  let missing = commands.filter(isMissing);
  if (missing.length > 0 && process.getuid?.() === 0 && !isMissing('apt-get')) {
    const wanted = missing.map((command) => packages[command]);
    const install = ['install', '-y', '--no-install-recommends', ...wanted];
    const options = { timeout: 180_000, stdio: 'ignore' as const };
    if (spawnSync('apt-get', install, options).status !== 0) {
      spawnSync('apt-get', ['update'], options);
      spawnSync('apt-get', install, options);
    }
    missing = missing.filter(isMissing);
  }
  if (missing.length === 0) return undefined;
  const names = missing.map((command) => `${command} (Debian package ${packages[command]})`);
  return `missing: ${names.join(', ')}`;
}

/** Runs a command to its end and gives back what it printed; throws that where it fails. */
export function run(command: string, args: string[]): string {
  const { status, signal, stdout, stderr } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) {
    throw new Error(`${command} ${args.join(' ')}: ${signal ?? `exit ${status}`}\n${stdout}\n${stderr}`);
  }
  return stdout;
}
