import { createReadStream, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  type BatchAnswer,
  type BulkJobAnswer,
  type CatalogDefinition,
  EspalierClient,
  type Job,
  type RecommendAnswer,
} from '../../src/client/index.js';
import { makeDataDir, startTestServer } from '../helpers/server.js';
import { attributes, items, sid } from '../helpers/small-server.js';

let client: EspalierClient;
beforeAll(async () => {
  const { url } = await startTestServer(makeDataDir());
  client = new EspalierClient({ url, headers: { 'x-actor': 'the client' } });
});

/** The ids of an answer, sorted, or the code of its error. */
function outcomeOf(answer: BatchAnswer): string[] | string {
  return 'error' in answer ? answer.error.code : answer.items.map(({ id }) => id).sort();
}

/** In order: each test goes on with what the one before has made. */
describe('the client, against a real server', () => {
  it('creates a catalog, once', async () => {
    const definition = { model: 'table', sid, attributes } as CatalogDefinition;
    const made = await client.catalogs.put('small', definition, { ifAbsent: true });
    expect(made).toMatchObject({ name: 'small', activeVersion: null, createdBy: 'the client' });
    const again = client.catalogs.put('small', definition, { ifAbsent: true });
    await expect(again).rejects.toMatchObject({ code: 'ESP_PRECONDITION_FAILED', status: 412 });
    expect((await client.catalogs.list()).map(({ name }) => name)).toEqual(['small']);
    expect(await client.readiness()).toMatchObject({ isReady: false, reasons: [expect.any(String)] });
  });

  it('uploads items from lists, iterables, streams, files and forms', async () => {
    const text = items.map((item) => JSON.stringify(item)).join('\n');
    const file = join(mkdtempSync(join(tmpdir(), 'espalier-client-')), 'items.ndjson.gz');
    writeFileSync(file, gzipSync(text));
    const form = new FormData();
    form.append('file', new File([text], 'items.ndjson', { type: 'application/x-ndjson' }));
    const uploads = [
      client.catalogs.upload('small', items, { activate: true }),
      client.catalogs.upload('small', items.values()),
      client.catalogs.upload('small', new Blob([text]).stream()),
      client.catalogs.upload('small', () => createReadStream(file), { isGzip: true }),
      client.catalogs.upload('small', form),
      client.catalogs.upload('small', 'id,sid\na,0-0\n', { format: 'csv' }),
    ];
    const states: Job[] = [];
    for (const { job } of await Promise.all(uploads)) {
      await client.jobs.wait(job.id, { onProgress: (one) => states.push(one) });
    }
    expect(states.filter(({ state }) => state === 'succeeded')).toHaveLength(6);
    const versions = await client.catalogs.versions('small');
    expect(versions.map((version) => version.items).sort()).toEqual([1, 6, 6, 6, 6, 6]);
    expect(await client.readiness()).toEqual({
      isReady: true,
      status: 'ready',
      reasons: [],
      degraded: [],
    });
  });

  it('says what is wrong with an upload', async () => {
    const { job } = await client.catalogs.upload('small', [{ id: 'a', sid: [9, 9] }]);
    await expect(client.jobs.wait(job.id)).rejects.toMatchObject({
      code: 'ESP_UPLOAD_INVALID',
      details: [
        { line: 1, field: 'sid[0]' },
        { line: 1, field: 'sid[1]' },
      ],
    });
    expect((await client.jobs.list({ state: 'failed', limit: 5 })).map(({ id }) => id)).toEqual([job.id]);
    expect((await client.jobs.get(job.id)).state).toBe('failed');
    await expect(client.jobs.cancel(job.id)).rejects.toMatchObject({ code: 'ESP_JOB_ENDED' });
  });

  it('names rules and lists, previews, aliases, activates and rolls back', async () => {
    const sets = client.constraintSets;
    expect(await sets.preview('small', { rule: 'colour == "red"' })).toMatchObject({ items: 2 });
    expect(await sets.put('small', 'sale', { rule: 'colour == "red"' })).toMatchObject({
      version: 1,
      items: 2,
    });
    const { job, version } = await sets.upload('small', 'sale', [{ id: '0-1' }], { activate: true });
    await client.jobs.wait(job.id);
    expect(version).toBe(2);
    expect(await sets.rollback('small', 'sale')).toMatchObject({ version: 1 });
    expect(await sets.activate('small', 'sale', 2)).toMatchObject({ version: 2, items: 1 });
    const alias = { alias: 'front', catalog: 'small', constraintSet: 'sale' };
    expect(await sets.changeAliases([{ set: alias }])).toEqual([alias]);
    expect(await sets.get('small', 'front')).toMatchObject({ name: 'sale' });
    expect((await sets.list('small')).map(({ name }) => name)).toEqual(['sale']);
    const request = { catalog: 'small', history: [], constraint: { set: 'front' }, attributes: ['price'] };
    const answer = await client.recommend<{ price: number }>(request);
    expect(answer.items.map(({ id, attributes: { price } }) => [id, price])).toEqual([['0-1', 1]]);
    expect(answer).toMatchObject({ complete: false, versions: { constraintSet: 2 } });
    expect(await sets.changeAliases([{ delete: { alias: 'front' } }])).toEqual([]);
    expect(await sets.aliases()).toEqual([]);
    await sets.delete('small', 'sale');
    await expect(client.recommend(request)).rejects.toMatchObject({ code: 'ESP_SET_NOT_FOUND', status: 404 });
  });

  it('asks for many at once: together, as a stream, and as a job', async () => {
    const good = { catalog: 'small', history: [], k: 2, constraint: { filter: 'colour == "red"' } };
    const requests = [good, { ...good, catalog: 'none' }, { ...good, k: 1 }];
    const expected = [['0-0', '1-0'], 'ESP_CATALOG_NOT_FOUND', ['0-0']];

    const together = await client.recommendBatch(requests);
    expect(together.map(outcomeOf)).toEqual(expected);

    const streamed: BatchAnswer[] = [];
    // More than a window of the stream.
    const many = Array.from({ length: 300 }, (_, index) => requests[index % 3]);
    for await (const answer of client.recommendBulk(many)) streamed.push(answer);
    expect(streamed.map(outcomeOf)).toEqual(many.map((_, index) => expected[index % 3]));
    expect(streamed[0]).toMatchObject({ versions: (together[0] as RecommendAnswer).versions });

    const job = await client.bulkJobs.start(requests, { idempotencyKey: 'nightly' });
    expect((await client.bulkJobs.start(requests, { idempotencyKey: 'nightly' })).id).toBe(job.id);
    await expect(client.bulkJobs.deleteOutput(job.id)).rejects.toMatchObject({
      code: 'ESP_OUTPUT_NOT_FOUND',
    });
    expect((await client.jobs.wait(job.id)).result).toMatchObject({ requests: 3, answered: 2, failed: 1 });
    const lines: BulkJobAnswer[] = [];
    for await (const line of client.bulkJobs.output(job.id)) lines.push(line);
    expect(lines.map(({ line }) => line)).toEqual([1, 2, 3]);
    expect(lines.map(outcomeOf)).toEqual(expected);
    await client.bulkJobs.deleteOutput(job.id);
    const gone = client.bulkJobs.output(job.id).next();
    await expect(gone).rejects.toMatchObject({ code: 'ESP_OUTPUT_NOT_FOUND', status: 404 });
  });

  it('changes items, activates and rolls back versions, and deletes', async () => {
    const { catalogs } = client;
    expect(
      await catalogs.changeItems('small', { remove: ['0-1'], update: [{ id: '0-0', price: 9 }] }),
    ).toMatchObject({
      removed: 1,
      updated: 1,
    });
    expect(await catalogs.item('small', '0-0')).toMatchObject({ id: '0-0', attributes: { price: 9 } });
    const added = await catalogs.changeItems('small', { add: [{ id: 'a/ä', sid: [0, 0] }] });
    await client.jobs.wait(added.job!.id);
    expect(await catalogs.item('small', 'a/ä')).toMatchObject({ catalogVersion: added.version });
    const [{ version }] = (await catalogs.versions('small')).filter(({ active }) => !active);
    expect(await catalogs.activate('small', version)).toMatchObject({ activeVersion: version });
    expect(await catalogs.rollback('small')).toMatchObject({ activeVersion: added.version });
    await catalogs.delete('small');
    await expect(catalogs.get('small')).rejects.toMatchObject({ code: 'ESP_CATALOG_NOT_FOUND' });
  });

  it('shows models, health, metrics and the document', async () => {
    expect((await client.models.list()).map(({ name }) => name)).toContain('table');
    expect((await client.models.load('table')).state).toBe('fits');
    expect((await client.models.get('table')).versions[0]).toMatchObject({ version: 1, loaded: false });
    expect(await client.health()).toMatchObject({ status: 'ok' });
    expect(await client.metrics()).toContain('espalier_decode_engines');
    expect(await client.openApi()).toMatchObject({ openapi: '3.1.0' });
  });
});
