import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { keysCommand } from '../helpers/keys.js';

const folder = mkdtempSync(join(tmpdir(), 'espalier-keys-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('espalier keys', () => {
  it('prints a key once, lists keys without it, and revokes by name and by id', () => {
    const dataDir = join(folder, 'not-there-yet');
    const at = ['--data-dir', dataDir];
    expect(keysCommand('list', ...at).stdout).toBe('There are no API keys.\n');
    const shop = keysCommand('create', ...at, '--name', 'shop', '--scopes', 'recommend');
    expect(shop).toMatchObject({ status: 0, stderr: '' });
    expect(shop.stdout).toMatch(/^esp_[0-9a-f]{16}_[\w-]{43}\n$/);
    const json = keysCommand(
      'create',
      ...at,
      '--name',
      'ops',
      '--scopes',
      'admin,write',
      '--expires-days',
      '2',
      '--json',
    );
    const ops = JSON.parse(json.stdout);
    expect(ops).toMatchObject({
      name: 'ops',
      scopes: ['write', 'admin'],
      key: expect.stringContaining(ops.id),
    });

    const { keys } = JSON.parse(keysCommand('list', ...at, '--json').stdout);
    expect(keys.map(({ name, state }: { name: string; state: string }) => [name, state])).toEqual([
      ['shop', 'good'],
      ['ops', `good until ${ops.expiresAt}`],
    ]);
    const listed = keysCommand('list', ...at).stdout + JSON.stringify(keys);
    for (const secret of [shop.stdout.trim(), ops.key, 'sha256']) expect(listed).not.toContain(secret);

    expect(keysCommand('revoke', 'shop', ...at).status).toBe(0);
    expect(keysCommand('revoke', ops.id, ...at).status).toBe(0);
    const again = keysCommand('revoke', 'shop', ...at);
    expect([again.status, again.stderr]).toEqual([1, expect.stringContaining('ESP_KEY_NOT_FOUND')]);
    const audit = readFileSync(join(dataDir, 'audit', 'audit.jsonl'), 'utf8')
      .trim()
      .split('\n');
    const entries = audit.map((line) => JSON.parse(line));
    expect(entries.map(({ action, target }) => [action, target.key])).toEqual([
      ['keys create', 'shop'],
      ['keys create', 'ops'],
      ['keys revoke', 'shop'],
      ['keys revoke', 'ops'],
    ]);
  });

  it('loses no key of several that are made at once', async () => {
    const dataDir = join(folder, 'many');
    const names = ['a', 'b', 'c', 'd', 'e'];
    const main = new URL('../../dist/cli/main.js', import.meta.url).pathname;
    const made = names.map(async (name) => {
      const args = ['keys', 'create', '--data-dir', dataDir, '--name', name, '--scopes', 'write'];
      const [code] = await once(spawn(process.execPath, [main, ...args], { stdio: 'ignore' }), 'exit');
      return code;
    });
    expect(await Promise.all(made)).toEqual(names.map(() => 0));
    const { keys } = JSON.parse(keysCommand('list', '--data-dir', dataDir, '--json').stdout);
    expect(keys.map(({ name }: { name: string }) => name).sort()).toEqual(names);
  });

  it.each([
    [[], 'expected a subcommand'],
    [['make'], 'unknown subcommand make'],
    [['create', '--data-dir', folder, '--name', 'a'], '--scopes: expected a value'],
    [['create', '--data-dir', folder, '--name', 'a', '--scopes', 'read'], 'found "read"'],
    [['create', '--data-dir', folder, '--name', 'a b', '--scopes', 'write'], '--name'],
    [['create', '--data-dir', folder, '--name', '0123456789abcdef', '--scopes', 'write'], '--name'],
    [
      ['create', '--data-dir', folder, '--name', 'a', '--scopes', 'write', '--expires-days', '0'],
      '--expires-days',
    ],
    [['revoke', '--data-dir', folder], 'the name or the id'],
  ])('answers %j with usage and exit code 2', (args, message) => {
    const { status, stdout, stderr } = keysCommand(...args);
    expect([status, stdout]).toEqual([2, '']);
    expect(stderr).toContain(message);
    expect(stderr).toContain('Usage:');
  });
});
