import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { normalizations } from '../../src/kernels/index.js';

const root = new URL('../..', import.meta.url).pathname;
const generated = join(root, 'src/server/rpc/generated');

function filesIn(folder: string): Record<string, string> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((one) => one.isFile());
  return Object.fromEntries(
    entries
      .map(({ parentPath, name }) => join(parentPath, name))
      .map((path) => [relative(folder, path), readFileSync(path, 'utf8')])
      .sort(),
  );
}

/** @param args of buf, which finds the project's own plugin. */
function buf(...args: string[]) {
  const bin = join(root, 'node_modules/.bin');
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}` };
  return spawnSync(join(bin, 'buf'), args, { cwd: root, env, encoding: 'utf8' });
}

describe('proto/', () => {
  it('is what the generated code was made of', () => {
    const folder = mkdtempSync(join(tmpdir(), 'espalier-proto-'));
    const { status, stderr } = buf('generate', '--output', folder);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(filesIn(join(folder, 'src/server/rpc/generated'))).toEqual(filesIn(generated));
  });

  it('names the values of normalize that the server takes', () => {
    const file = readFileSync(join(root, 'proto/espalier/v1/recommendation.proto'), 'utf8');
    const [, comment] = /\/\/ (.*)\n\s*optional string normalize /.exec(file)!;
    expect(Array.from(comment.matchAll(/"(\w+)"/g), ([, value]) => value)).toEqual(normalizations);
  });

  it('keeps the rules of buf lint', () => {
    const { stdout, status } = buf('lint');
    expect(stdout).toBe('');
    expect(status).toBe(0);
  });
});
