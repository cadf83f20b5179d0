import { cpSync, mkdtempSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { stampFolder } from '../../src/decoder/folder-stamp.js';
import { OpenModels } from '../../src/decoder/open-models.js';

const fixture = (name: string) => new URL(`../fixtures/models/${name}/1`, import.meta.url).pathname;
const refOf = (folder: string) => ({ name: 'm', version: 1, folder });

describe('the models that are open', () => {
  it('are those that opened, until they are released', async () => {
    const models = new OpenModels(1);
    const [table, silent] = [refOf(fixture('table')), refOf(fixture('silent'))];
    const opening = models.get(table);
    expect(models.folders()).toEqual([]);
    const used = await opening;
    expect(await models.get(table)).toBe(used);
    await expect(models.get(refOf(fixture('not-onnx')))).rejects.toMatchObject({ code: 'ESP_MODEL_MISFIT' });
    await models.get(silent);
    expect(models.folders().sort()).toEqual([silent.folder, table.folder].sort());
    await models.release([silent], new Set([used]));
    expect(models.folders()).toHaveLength(2);
    await models.release([], new Set([used]));
    expect(models.folders()).toEqual([table.folder]);
    await models.close();
    expect(models.folders()).toEqual([]);
  });

  it('are opened anew when their files change', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'espalier-model-'));
    cpSync(fixture('table'), folder, { recursive: true });
    const models = new OpenModels(1);
    const before = await models.get(refOf(folder));
    utimesSync(join(folder, 'model.onnx'), 1, 1);
    const after = await models.get(refOf(folder));
    expect(after).not.toBe(before);
    expect(models.folders()).toEqual([folder]);
    await models.close();
  });

  it('are not tried again where their files were, and only then', async () => {
    const models = new OpenModels(1);
    const table = refOf(fixture('table'));
    // What no trial would find.
    const probe = { vocabSize: 4711, batchesRagged: false };
    const trusting = await models.get(table, { stamp: stampFolder(table.folder), probe });
    expect(trusting.vocabSize).toBe(4711);
    await models.close();
    const checking = await models.get(table, { stamp: 'of other files', probe });
    expect(checking.vocabSize).toBe(7);
    await models.close();
  });
});
