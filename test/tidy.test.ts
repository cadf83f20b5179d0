import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { errorCatalogue } from '../src/errors.js';
import { cudaOff } from '../src/kernels/index.js';
import { KernelFacts } from '../src/server/kernel-facts.js';
import { Metrics } from '../src/server/metrics/index.js';

const root = new URL('..', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');

/** Licences that fit a project under Apache-2.0. */
const LICENCES = [
  'Apache-2.0',
  'MIT',
  'MIT OR Apache-2.0',
  '(Apache-2.0 AND BSD-3-Clause)',
  '(MIT AND CC-BY-3.0)',
  '(MIT OR CC0-1.0)',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'BlueOak-1.0.0',
  'Python-2.0',
  'CC0-1.0',
  'CC-BY-3.0',
  'CC-BY-4.0',
  'MPL-2.0',
  'Unlicense',
];

describe('the house', () => {
  it('keeps its arrows: rooms, cycles, dead files, who may import what', () => {
    const { status, stdout, stderr } = spawnSync(
      'npx',
      ['depcruise', '--config', '.dependency-cruiser.json', 'src'],
      { cwd: root, encoding: 'utf8' },
    );
    expect(stdout + stderr).toContain('no dependency violations found');
    expect(status).toBe(0);
  });

  it('lists every error code in docs/errors.md, with its status and meaning, and no other', () => {
    const rows = read('docs/errors.md').matchAll(/^\| `(ESP_\w+)` \| (\d+) \| (.*) \|$/gm);
    const documented = Object.fromEntries(
      Array.from(rows, ([, code, status, summary]) => [code, { statusCode: Number(status), summary }]),
    );
    expect(documented).toEqual(errorCatalogue);
  });

  it('lists every metric in docs/metrics.md, with its type, labels and meaning, and no other', async () => {
    const { registry } = new Metrics({
      kernel: new KernelFacts({ name: 'js', stepName: 'js' }, cudaOff('in a test'), () => []),
      decoding: () => ({ queueLength: 0, engineCount: 0 }),
      sets: () => [],
      catalogs: () => [],
      isRedisThere: () => true,
    });
    const metrics = await registry.getMetricsAsJSON();
    const exported = metrics
      .filter(({ name }) => name.startsWith('espalier_'))
      .map(({ name, type, help }) => {
        const { labelNames } = registry.getSingleMetric(name) as unknown as { labelNames: string[] };
        return { name, type: String(type), labels: labelNames.join(', '), help };
      });
    const rows = read('docs/metrics.md').matchAll(/^\| `(espalier_\w+)` \| (\w+) \| (.*?)\| (.*) \|$/gm);
    const documented = Array.from(rows, ([, name, type, labels, help]) => {
      return { name, type, labels: labels.replaceAll('`', '').trim(), help };
    });
    const byName = (a: { name: string }, b: { name: string }) => a.name.localeCompare(b.name);
    expect(documented.sort(byName)).toEqual(exported.sort(byName));
  });

  it('depends only on packages whose licences fit', () => {
    const { stdout } = spawnSync(
      'npx',
      ['license-checker-rseidelsohn', '--json', '--excludePackages', 'espalier'],
      {
        cwd: root,
        encoding: 'utf8',
        maxBuffer: 1 << 26,
      },
    );
    const packages = Object.entries(JSON.parse(stdout) as Record<string, { licenses: string }>);
    expect(packages.length).toBeGreaterThan(100);
    expect(
      packages
        .filter(([, { licenses }]) => !LICENCES.includes(licenses))
        .map(([name, { licenses }]) => `${name}: ${licenses}`),
    ).toEqual([]);
  });

  it('prints the data’s provenance in NOTICE', () => {
    expect(read('NOTICE')).toContain('https://doi.org/10.1057/dbm.2012.17');
  });
});
