import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { parser } from '@prometheus-io/lezer-promql';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { errorCatalogue } from '../src/errors.js';
import { ensureIdentity } from '../src/server/data-dir-identity.js';
import { configKeys, environmentName } from '../src/server/index.js';
import { routeScopes } from '../src/server/security/route-scopes.js';
import { endAfterFile } from './helpers/leftovers.js';
import { findPromtool } from './helpers/promtool.js';
import { noRedis, TestRedis } from './helpers/redis.js';

const root = new URL('..', import.meta.url).pathname;
const read = (path: string) => readFileSync(join(root, path), 'utf8');

interface Alert {
  alert: string;
  expr: string;
  labels: { severity: string };
  annotations: Record<string, string>;
}
const alerts = (
  parse(read('deploy/prometheus/alerts.yml')) as { groups: { rules: Alert[] }[] }
).groups.flatMap(({ rules }) => rules);
const dashboard = JSON.parse(read('deploy/grafana/espalier.json')) as {
  panels: { title: string; targets?: { expr: string }[] }[];
  annotations: { list: { expr: string }[] };
};
const expressions = [
  ...alerts.map(({ expr }) => expr),
  ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
  ...dashboard.annotations.list.map(({ expr }) => expr),
];

/** What a scrape has: histograms as their three series. `up` is Prometheus' own. */
async function exportedSeries(): Promise<Set<string>> {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const defaults = (await registry.getMetricsAsJSON()).map(({ name }) => name);
  const rows = [...read('docs/metrics.md').matchAll(/^\| `(espalier_\w+)` \| (\w+) \|/gm)];
  const histograms = rows.filter(([, , type]) => type === 'histogram').map(([, name]) => name);
  return new Set([
    'up',
    ...defaults,
    ...rows.filter(([, , type]) => type !== 'histogram').map(([, name]) => name),
    ...histograms.flatMap((name) => ['_bucket', '_sum', '_count'].map((end) => name + end)),
  ]);
}

/** The names of the metrics in an expression. @throws where it is not PromQL */
function metricsIn(expression: string): string[] {
  // Grafana fills these in.
  const text = expression.replaceAll(/\$\w+/g, 'x');
  const names: string[] = [];
  parser.parse(text).iterate({
    enter(node) {
      if (node.type.isError) throw new Error(`not PromQL at ${node.from}: ${text}`);
      // Of a vector selector, not of a function or of `by`.
      if (node.name === 'Identifier' && node.node.parent?.name === 'VectorSelector') {
        names.push(text.slice(node.from, node.to));
      }
    },
  });
  return names;
}

describe('the dashboard and the alerts', () => {
  it('are PromQL over metrics that the server exports', async () => {
    const exported = await exportedSeries();
    const names = expressions.flatMap(metricsIn);
    expect(names.length).toBeGreaterThan(50);
    expect([...new Set(names)].filter((name) => !exported.has(name))).toEqual([]);
    expect(() => metricsIn('sum(rate(up[5m])')).toThrow('not PromQL');
  });

  it('look at every route that recommends, over all protocols, and at no other', () => {
    const patterns = new Set(expressions.flatMap((text) => text.match(/route[=!]~?"[^"]*"/g) ?? []));
    const operators = [...patterns].map((one) => /^route(\W+)"/.exec(one)![1]);
    const [pattern, ...others] = new Set([...patterns].map((one) => one.split('"')[1]));
    expect([operators.sort(), others]).toEqual([['!~', '=~'], []]);
    const isRecommending = (route: string) => new RegExp(`^(${pattern})$`).test(route);
    const recommending: string[] = [];
    for (const [route, need] of Object.entries(routeScopes)) {
      // The star stands for the methods of a service.
      const pattern = route.split(' ')[1].replace(/\*$/, '/Method');
      expect([pattern, isRecommending(pattern)]).toEqual([pattern, need === 'recommend']);
      if (need === 'recommend') recommending.push(pattern);
    }
    expect(recommending).toHaveLength(4);
  });

  it('have an alert for every error that is the fault of the server', () => {
    const { expr } = alerts.find(({ alert }) => alert === 'EspalierFaults')!;
    const codes = /code=~"([^"]*)"/.exec(expr)![1].split('|');
    // Too much to do, a stop, and what has alerts of its own.
    const others = ['ESP_OVERLOADED', 'ESP_SHUTTING_DOWN', 'ESP_SET_STALE', 'ESP_REDIS_UNAVAILABLE'];
    const faults = Object.entries(errorCatalogue).filter(([, { statusCode }]) => statusCode >= 500);
    expect([...codes, ...others].sort()).toEqual(faults.map(([code]) => code).sort());
  });

  it('say of each alert how bad it is, what it means, and which section tells what to do', () => {
    const sections = new Set(
      [...read('docs/operating.md').matchAll(/^### (\w+)$/gm)].map(([, title]) => title.toLowerCase()),
    );
    for (const { alert, labels, annotations } of alerts) {
      expect(['page', 'ticket'], alert).toContain(labels.severity);
      expect(annotations.summary, alert).toBeTruthy();
      expect(annotations.description, alert).toBeTruthy();
      expect(annotations.runbook_url).toBe(`docs/operating.md#${alert.toLowerCase()}`);
      expect(sections, alert).toContain(alert.toLowerCase());
    }
    const names = alerts.map(({ alert }) => alert.toLowerCase());
    expect([...sections].filter((title) => title.startsWith('espalier') && !names.includes(title))).toEqual(
      [],
    );
  });

  const promtool = findPromtool();
  afterAll(() => {
    // A hundred megabytes.
    if ('folder' in promtool && promtool.folder) rmSync(promtool.folder, { recursive: true });
  });
  it.skipIf('missing' in promtool && promtool.missing)('pass promtool, and fire when they should', () => {
    const check = (...args: string[]) => {
      const path = 'path' in promtool ? promtool.path : '';
      const { status, stdout, stderr } = spawnSync(path, args, {
        cwd: join(root, 'deploy/prometheus'),
        encoding: 'utf8',
      });
      expect(status, stdout + stderr).toBe(0);
    };
    check('check', 'config', 'prometheus.yml');
    check('check', 'rules', 'alerts.yml');
    check('test', 'rules', 'alerts.test.yml');
    const rules = expressions.map((expr, index) => ({
      record: `r${index}`,
      expr: expr.replaceAll(/\$\w+/g, 'x'),
    }));
    const file = join(mkdtempSync(join(tmpdir(), 'espalier-rules-')), 'rules.yml');
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'dashboard', rules }] }));
    check('check', 'rules', file);
  });
});

describe('the units', () => {
  it('give server and workers the same folders', () => {
    const folders = readdirSync(join(root, 'deploy/systemd')).map((name) => {
      const lines = read(`deploy/systemd/${name}`).matchAll(/^Environment=(\w+)=(.*)$/gm);
      return foldersIn(Object.fromEntries(Array.from(lines, ([, variable, value]) => [variable, value])));
    });
    expect(folders).toEqual(Array(2).fill(['/var/lib/espalier', '/srv/espalier/models']));
  });

  const hasSystemd = spawnSync('which', ['systemd-analyze']).status === 0;
  it.skipIf(!hasSystemd && 'missing: systemd-analyze (Debian package systemd)')(
    'are what systemd accepts',
    () => {
      const folder = mkdtempSync(join(tmpdir(), 'espalier-units-'));
      const names = readdirSync(join(root, 'deploy/systemd'));
      expect(names).toHaveLength(2);
      for (const name of names) {
        // Where node is, is another matter on this machine.
        const unit = read(`deploy/systemd/${name}`).replace('/usr/bin/node', process.execPath);
        writeFileSync(join(folder, name), unit);
      }
      const paths = names.map((name) => join(folder, name));
      const { stdout, stderr } = spawnSync('systemd-analyze', ['verify', ...paths], { encoding: 'utf8' });
      const ours = `${stdout}${stderr}`.split('\n').filter((line) => line.includes('espalier'));
      expect(ours).toEqual([]);
    },
  );

  it('set only variables that exist, and wait longer than the server drains', () => {
    for (const name of readdirSync(join(root, 'deploy/systemd'))) {
      const unit = read(`deploy/systemd/${name}`);
      expect(variablesIn(unit).filter((variable) => !isVariable(variable))).toEqual([]);
      expect(Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)![1])).toBeGreaterThan(10);
    }
  });
});

const isFolder = (variable: string) => /^ESPALIER_\w*_DIR$/.test(variable);
/** The folders that an environment names. */
const foldersIn = (environment: Record<string, string>) =>
  Object.entries(environment).flatMap(([variable, path]) => (isFolder(variable) ? [path] : []));
const variablesIn = (text: string) => [...text.matchAll(/\bESPALIER_[A-Z_]*[A-Z]/g)].map(([name]) => name);
const isVariable = (name: string) =>
  name === 'ESPALIER_KERNELS' || configKeys.map(environmentName).includes(name);

const dockerfile = read('deploy/Dockerfile').replaceAll(/\\\n\s*/g, ' ');

describe('the image', () => {
  const instructions = dockerfile.split('\n').filter((line) => /^[A-Z]/.test(line));

  it('copies what there is, and what its ignore file lets through', () => {
    const allowed = read('deploy/Dockerfile.dockerignore').split('\n');
    expect(allowed[0]).toBe('*');
    const copied = instructions
      .filter((line) => line.startsWith('COPY ') && !line.includes('--from'))
      .flatMap((line) => line.split(' ').slice(1, -1))
      .map((source) => source.replace(/^\.\//, ''));
    expect(copied.length).toBeGreaterThan(5);
    for (const source of copied) {
      expect(existsSync(join(root, source)), source).toBe(true);
      expect(allowed).toContain(`!${source}`);
    }
  });

  it('knows its instructions, runs as nobody special, and sets only variables that exist', () => {
    const known = /^(FROM|RUN|WORKDIR|ENV|COPY|USER|VOLUME|EXPOSE|STOPSIGNAL|HEALTHCHECK|ENTRYPOINT|CMD) /;
    expect(instructions.filter((line) => !known.test(line))).toEqual([]);
    expect(instructions.filter((line) => line.startsWith('USER '))).toEqual(['USER node']);
    expect(variablesIn(dockerfile).filter((name) => !isVariable(name))).toEqual([]);
    for (const line of instructions.filter((one) => /^(ENTRYPOINT|CMD) /.test(one))) {
      expect(JSON.parse(line.replace(/^\w+ /, ''))).toBeInstanceOf(Array);
    }
    const [health] = instructions.filter((line) => line.startsWith('HEALTHCHECK '));
    const [, flag, script] = JSON.parse(health.slice(health.indexOf('CMD ') + 4)) as string[];
    expect(flag).toBe('-e');
    // Nothing listens there: it must say so by its exit code.
    expect(spawnSync(process.execPath, [flag, script.replace('8080', '1')]).status).toBe(1);
  });
});

describe('the compose file', () => {
  interface Service {
    environment?: Record<string, string>;
    command?: string[];
    volumes?: string[];
    depends_on?: string[];
    image: string;
    stop_grace_period?: string;
  }
  const compose = parse(read('deploy/compose.yaml'), { merge: true }) as {
    services: Record<string, Service>;
    volumes: object;
  };
  const containers = Object.entries(compose.services);
  const dataOf = ({ volumes = [] }: Service) => volumes.find((one) => one.endsWith(':/data'))!.split(':')[0];

  it('has two servers on data directories of their own, a worker for each, and variables that exist', () => {
    const servers = containers.filter(([name]) => name.startsWith('espalier-'));
    const workers = containers.filter(([, { command }]) => command?.[0] === 'worker');
    const data = servers.map(([, service]) => dataOf(service));
    expect(data).toEqual(['data-1', 'data-2']);
    expect(workers.map(([, service]) => dataOf(service))).toEqual(data);
    expect(Object.keys(compose.volumes)).toEqual(data);
    for (const [name, { environment = {}, depends_on = [] }] of containers) {
      expect(Object.keys(environment).filter((variable) => !isVariable(variable))).toEqual([]);
      expect(
        depends_on.filter((other) => compose.services[other] === undefined),
        name,
      ).toEqual([]);
    }
    for (const [, { environment, stop_grace_period }] of servers) {
      const graceMs = Number(environment!.ESPALIER_SHUTDOWN_GRACE_MS);
      expect(Number.parseInt(stop_grace_period!, 10) * 1000).toBeGreaterThan(graceMs);
    }
  });

  /** Of the image; a service's own comes over it. */
  const imageEnvironment = Object.fromEntries(
    Array.from(dockerfile.matchAll(/(ESPALIER_\w+)=(\S+)/g), ([, name, value]) => [name, value]),
  );
  const madeByImage = Array.from(dockerfile.matchAll(/mkdir (\/\w+)/g), ([, path]) => path);
  const ours = containers.filter(([, { image }]) => image === 'espalier');
  const environmentOf = ({ environment }: Service) => ({ ...imageEnvironment, ...environment });
  /** Where each folder of this machine, or volume, is within the container. */
  const mountsOf = ({ volumes = [] }: Service) =>
    volumes.map((one) => /^(?<source>\$\{.*?\}|[^:]*):(?<target>[^:]*)(?<mode>:ro)?$/.exec(one)!.groups!);

  it('mounts every folder that a variable names, the models to be read only', () => {
    expect(ours.map(([name]) => name)).toEqual(['espalier-1', 'espalier-2', 'worker-1', 'worker-2']);
    for (const [name, service] of ours) {
      const folders = foldersIn(environmentOf(service));
      expect(folders, name).toEqual(['/data', '/models']);
      const there = [...madeByImage, ...mountsOf(service).map(({ target }) => target)];
      expect(
        folders.filter((folder) => !there.includes(folder)),
        name,
      ).toEqual([]);
      expect(mountsOf(service), name).toContainEqual({
        source: expect.stringContaining('MODELS'),
        target: '/models',
        mode: ':ro',
      });
    }
  });

  it.skipIf(noRedis !== undefined && noRedis)(
    'starts servers and workers that find all they need',
    async () => {
      const redis = await TestRedis.start();
      try {
        // The second of each has the same, but for its volume.
        const firsts = ours.filter(([name]) => name.endsWith('-1'));
        await Promise.all(firsts.map((one) => expectStart(redis.url, ...one)));
      } finally {
        await redis.remove();
      }
    },
  );

  /** A service with the environment of its container, and with the folders that are there and no other, gets ready. */
  async function expectStart(redisUrl: string, name: string, service: Service): Promise<void> {
    const isReady = /^Espalier (worker is ready|listens)/m;
    const container = mkdtempSync(join(tmpdir(), 'espalier-container-'));
    for (const folder of [...madeByImage, ...mountsOf(service).map(({ target }) => target)]) {
      mkdirSync(join(container, folder), { recursive: true });
    }
    ensureIdentity(join(container, 'data'));
    const environment: Record<string, string> = {
      ...environmentOf(service),
      ESPALIER_REDIS_URL: redisUrl,
    };
    for (const [variable, value] of Object.entries(environment)) {
      if (isFolder(variable)) environment[variable] = join(container, value);
    }
    const { command = ['serve'] } = service;
    // A free port, and none that other machines reach: that would take keys.
    const listen = command[0] === 'serve' ? ['--host', '127.0.0.1', '--port', '0'] : [];
    const child = spawn(process.execPath, [join(root, 'dist/cli/main.js'), ...command, ...listen], {
      env: { PATH: process.env.PATH, ...environment },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    endAfterFile(() => child.kill('SIGKILL'));
    const lines: string[] = [];
    for await (const line of createInterface({ input: child.stderr })) {
      lines.push(line);
      if (isReady.test(line)) child.kill('SIGKILL');
    }
    expect(lines.join('\n'), name).toMatch(isReady);
  }
});
