import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { ModelRef } from '../decoder/index.js';
import { EspalierError } from '../errors.js';

/** Models by name and version in `<modelsDir>/<name>/<version>/`; `<modelsDir>/<name>/` itself is version 1. */
export class ModelStore {
  readonly #modelsDir: string;

  constructor(modelsDir: string) {
    this.#modelsDir = modelsDir;
  }

  /**
   * @param version the newest where it is undefined.
   * @throws EspalierError ESP_MODEL_NOT_FOUND
   */
  find(name: string, version?: number): ModelRef {
    const versions = this.versions(name);
    const wanted = version ?? versions.at(-1);
    if (wanted === undefined || !versions.includes(wanted)) {
      const found =
        versions.length > 0
          ? `versions ${versions.join(', ')}`
          : `models ${this.names().join(', ') || 'none'}`;
      const expected = version === undefined ? `a model ${name}` : `version ${version} of model ${name}`;
      throw new EspalierError(
        'ESP_MODEL_NOT_FOUND',
        `there is no ${expected.replace(/^an? /, '')}; there are ${found}`,
        {
          details: [{ field: 'model', expected, found }],
        },
      );
    }
    const folder = join(this.#modelsDir, name, String(wanted));
    const isPlain = !existsSync(join(folder, 'model.json'));
    return { name, version: wanted, folder: isPlain ? join(this.#modelsDir, name) : folder };
  }

  /** Models that have at least one version on disk now, in the order of their names. */
  names(): string[] {
    const names = listFolder(this.#modelsDir).filter((name) => isModelName(name));
    return names.filter((name) => this.versions(name).length > 0).sort();
  }

  /** A model's versions on disk now, ascending; none where there is no such model. */
  versions(name: string): number[] {
    const folder = join(this.#modelsDir, name);
    const versions = listFolder(folder)
      .filter((entry) => /^[1-9]\d{0,8}$/.test(entry))
      .filter((entry) => existsSync(join(folder, entry, 'model.json')))
      .map(Number);
    if (existsSync(join(folder, 'model.json')) && !versions.includes(1)) versions.push(1);
    return versions.sort((a, b) => a - b);
  }
}

/** Names that the API can speak of. */
function isModelName(name: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/.test(name);
}

/** The names in a folder; none where it is gone, or is a file. */
function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
