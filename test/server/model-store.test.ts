import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ModelStore } from '../../src/server/model-store.js';

function makeStore(...manifests: string[]): { store: ModelStore; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-models-'));
  for (const manifest of manifests) {
    mkdirSync(join(folder, manifest), { recursive: true });
    writeFileSync(join(folder, manifest, 'model.json'), '{}');
  }
  return { store: new ModelStore(folder), folder };
}

describe('the models directory', () => {
  it('has versions in folders of their numbers, in the order of numbers', () => {
    const { store, folder } = makeStore('a/10', 'a/9', 'a/draft', 'a/07', 'a/0', 'a/12345678901', 'b/1');
    mkdirSync(join(folder, 'a/11'));
    expect(store.names()).toEqual(['a', 'b']);
    expect(store.versions('a')).toEqual([9, 10]);
    expect(store.find('a')).toEqual({ name: 'a', version: 10, folder: join(folder, 'a/10') });
  });

  it('takes a model.json beside the versions for version 1', () => {
    const { store, folder } = makeStore('plain', 'plain/2', 'both', 'both/1');
    expect(store.versions('plain')).toEqual([1, 2]);
    expect(store.find('plain', 1).folder).toBe(join(folder, 'plain'));
    expect(store.versions('both')).toEqual([1]);
    expect(store.find('both').folder).toBe(join(folder, 'both/1'));
  });

  it('follows links, and passes over files and what the API cannot name', () => {
    const { store, folder } = makeStore('a/1', '.git/1', 'two words/1');
    writeFileSync(join(folder, 'README.md'), '');
    symlinkSync(join(folder, 'a/1'), join(folder, 'a/2'));
    expect(store.names()).toEqual(['a']);
    expect(store.versions('a')).toEqual([1, 2]);
    expect(store.versions('README.md')).toEqual([]);
    expect(() => store.find('README.md')).toThrow(
      expect.objectContaining({ code: 'ESP_MODEL_NOT_FOUND', details: [expect.anything()] }),
    );
  });
});
