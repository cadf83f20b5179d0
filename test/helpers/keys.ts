import { spawnSync } from 'node:child_process';

const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;

/** `espalier keys …`, as an operator runs it. */
export function keysCommand(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, 'keys', ...args], {
    encoding: 'utf8',
  });
  return { status, stdout, stderr };
}

/** Makes a key. @returns what to send as headers with it */
export function makeKey(
  dataDir: string,
  name: string,
  scopes: string,
  ...more: string[]
): Record<string, string> {
  const { status, stdout, stderr } = keysCommand(
    'create',
    '--data-dir',
    dataDir,
    '--name',
    name,
    '--scopes',
    scopes,
    ...more,
  );
  if (status !== 0) throw new Error(`keys create ended with ${status}: ${stderr}`);
  return { authorization: `Bearer ${stdout.trim()}` };
}
