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
    const versions = this.#versions(name);
    const wanted = version ?? versions.at(-1);
    if (wanted === undefined || !versions.includes(wanted)) {
      const found =
        versions.length > 0
          ? `versions ${versions.join(', ')}`
          : `models ${this.#names().join(', ') || 'none'}`;
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

  #names(): string[] {
    if (!existsSync(this.#modelsDir)) return [];
    return readdirSync(this.#modelsDir).filter((name) => this.#versions(name).length > 0);
  }

  #versions(name: string): number[] {
    const folder = join(this.#modelsDir, name);
    if (!existsSync(folder)) return [];
    const versions = readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && /^[1-9]\d*$/.test(entry.name))
      .filter((entry) => existsSync(join(folder, entry.name, 'model.json')))
      .map((entry) => Number(entry.name));
    if (existsSync(join(folder, 'model.json')) && !versions.includes(1)) versions.push(1);
    return versions.sort((a, b) => a - b);
  }
}
