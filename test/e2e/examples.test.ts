import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it } from 'vitest';
import { readItems } from '../../examples/online-retail/retail.js';
import { modelsDir } from '../helpers/retail.js';
import { endOf, makeDataDir, startTestServer } from '../helpers/server.js';

const root = new URL('../..', import.meta.url).pathname;

function run(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('npx', ['tsx', ...args], { cwd: root, encoding: 'utf8' });
  expect(status, stderr).toBe(0);
  // Its server may warn of slow requests, on a busy machine.
  return stdout.replaceAll(/^\{"level".*\n/gm, '');
}

describe('the examples', () => {
  it('demo: serves, and prints three requests that answer as shown', async () => {
    const demo = spawn(
      'npx',
      ['tsx', 'examples/online-retail/demo.ts', '--port', '0', '--data-dir', makeDataDir()],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'inherit'],
        detached: true,
      },
    );
    try {
      const lines: string[] = [];
      for await (const line of createInterface({ input: demo.stdout })) {
        lines.push(line);
        if (line.startsWith('Ctrl-C')) break;
      }
      const commands = lines.filter((line) => line.startsWith('curl '));
      expect(commands).toHaveLength(3);
      const items = new Map((await readItems()).map((item) => [item.id, item]));
      for (const command of commands) {
        const [, url, body] = /^curl -s (\S+) -H 'content-type: application\/json' -d '(.*)'$/.exec(command)!;
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        });
        const answer = (await response.json()) as { items: { id: string; attributes: { title: string } }[] };
        expect(answer.items).toHaveLength(5);
        for (const { id, attributes } of answer.items) {
          expect(attributes.title).toBe(items.get(id)!.title);
          expect(lines.some((line) => line.includes(id) && line.endsWith(attributes.title))).toBe(true);
        }
      }
    } finally {
      // The whole group: npx, tsx, and the server below them.
      process.kill(-demo.pid!, 'SIGTERM');
    }
  });

  it('README: its commands, as they are, upload its item and find it under its rule', async () => {
    const readme = readFileSync(join(root, 'README.md'), 'utf8');
    const [, steps] = /^## Use it with your model and catalog\n([\s\S]*?)^## /m.exec(readme)!;
    const [, item] = /```json\n(.*)\n```/.exec(steps)!;
    const commands = /```sh\n([\s\S]*?)\n```/.exec(steps)![1].split('\n\n');
    expect(commands).toHaveLength(4);
    const folder = mkdtempSync(join(tmpdir(), 'espalier-readme-'));
    try {
      const model = join(folder, 'models/my-model');
      mkdirSync(join(folder, 'models'));
      cpSync(join(modelsDir, 'retail-logits'), model, { recursive: true });
      const manifest = readFileSync(join(model, '1/model.json'), 'utf8');
      writeFileSync(join(model, '1/model.json'), manifest.replace('"retail-logits"', '"my-model"'));
      writeFileSync(join(folder, 'items.ndjson'), `${item}\n`);
      const server = await startTestServer(makeDataDir(), [], join(folder, 'models'));
      const answers: { [key: string]: unknown; job?: { id: string } }[] = [];
      for (const command of commands) {
        const { host } = new URL(server.url);
        const { stdout, stderr } = spawnSync('sh', ['-c', command.replace('localhost:8080', host)], {
          cwd: folder,
          encoding: 'utf8',
        });
        expect(stdout, stderr).toMatch(/^\{/);
        const answer = JSON.parse(stdout) as (typeof answers)[number];
        expect(answer, command).not.toHaveProperty('error');
        if (answer.job !== undefined) {
          expect(await endOf(server, answer.job.id)).toMatchObject({ state: 'succeeded' });
        }
        answers.push(answer);
      }
      expect(answers[3].items).toMatchObject([{ id: (JSON.parse(item) as { id: string }).id }]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('rules-matter: no answer breaks its rule, and the constrained shelf is full', () => {
    const table = run('examples/online-retail/rules-matter.ts', '--users', '20');
    for (const rule of ['germany', 'under-2-pounds', 'new-arrivals', 'christmas', 'in-stock']) {
      expect(table).toMatch(new RegExp(`│ ${rule} +│ \\d+ +│ 10 +│ [\\d.]+ +│ \\d+ +│ 0 +│`));
    }
  });

  it('quality: looks for the hidden item of every shopper', () => {
    expect(run('examples/online-retail/quality.ts', '--users', '20')).toMatch(
      /^R@5 [01]\.\d{4} {2}NDCG@5 [01]\.\d{4}\n(.*\n){2}20 shoppers\n$/,
    );
  });

  it('library: decodes the best items that a rule allows, in under 40 lines', () => {
    expect(readFileSync(join(root, 'examples/library.ts'), 'utf8').split('\n').length).toBeLessThan(40);
    const lines = run('examples/library.ts').trim().split('\n');
    expect(lines).toHaveLength(10);
    const scores = lines.map((line) => Number(line.split(' ')[0]));
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
    expect(lines.filter((line) => !/^-\d+\.\d{3} \d+-\d+-\d+ \S+ .*CHRISTMAS/.test(line))).toEqual([]);
  });
});
