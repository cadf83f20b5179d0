import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import { send } from './server.js';

/** Models to make versions of; all read tables, see `make_models.py` and `make_version_models.py`. */
const fixtures = {
  table: 'models/table/1',
  /** Other weights for the same SIDs. */
  retrained: 'version-models/retrained',
  /** Codebooks [3, 2] instead of [2, 3]. */
  'new-sids': 'version-models/new-sids',
  /** Eight tokens instead of seven. */
  'new-vocabulary': 'version-models/new-vocabulary',
  'not-onnx': 'models/not-onnx/1',
  'small-vocabulary': 'models/small-vocabulary/1',
} as const;

export const codebooks = [2, 3];
export const newCodebooks = [3, 2];

/** One item for each SID, named after it. */
export function itemsOf([first, second]: readonly number[]): { id: string; sid: number[] }[] {
  return Array.from({ length: first * second }, (_, index) => {
    const sid = [Math.floor(index / second), index % second];
    return { id: sid.join('-'), sid };
  });
}

export class ModelsDir {
  readonly path = mkdtempSync(join(tmpdir(), 'espalier-models-'));

  /** Puts a version there, in place of the one that was there. */
  put(name: string, version: number, fixture: keyof typeof fixtures): void {
    this.remove(name, version);
    const source = new URL(`../fixtures/${fixtures[fixture]}`, import.meta.url).pathname;
    cpSync(source, join(this.path, name, String(version)), { recursive: true });
  }

  remove(name: string, version: number): void {
    rmSync(join(this.path, name, String(version)), { recursive: true, force: true });
  }

  /** Changes the manifest's tokens. */
  putTokens(name: string, version: number, tokens: object): void {
    const path = join(this.path, name, String(version), 'model.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...manifest, tokens: { ...manifest.tokens, ...tokens } }));
  }
}

export interface PairAnswer {
  versions: { catalog: number; model: number };
  /** As text, to compare in one go: ids with scores. */
  items: string;
}

/** All items of a catalog, ranked, and the pair that ranked them. */
export async function ask(server: ServerProcess, catalog: string): Promise<PairAnswer> {
  const { status, body } = await send(server, 'POST', '/v1/recommend', { catalog, history: [] });
  if (status !== 200) throw new Error(JSON.stringify(body));
  return { versions: body.versions, items: JSON.stringify(body.items) };
}

export function putModel(
  server: ServerProcess,
  catalog: string,
  model: string | { name: string; version: number },
  codebookSizes: readonly number[] = codebooks,
) {
  return send(server, 'PUT', `/v1/catalogs/${catalog}`, { model, sid: { codebookSizes }, attributes: {} });
}

export function activate(server: ServerProcess, catalog: string, version: number) {
  return send(server, 'POST', `/v1/catalogs/${catalog}/versions/${version}/activate`);
}

export function rollback(server: ServerProcess, catalog: string, body?: object) {
  return send(server, 'POST', `/v1/catalogs/${catalog}/rollback`, body);
}

/** Versions of a model that the engine has open. */
export async function loadedVersions(server: ServerProcess, model: string): Promise<number[]> {
  const { body } = await send(server, 'GET', `/v1/models/${model}`);
  const versions: { version: number; loaded: boolean }[] = body.versions;
  return versions.filter(({ loaded }) => loaded).map(({ version }) => version);
}
