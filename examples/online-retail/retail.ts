import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { createGunzip } from 'node:zlib';
import { EspalierClient } from 'espalier/client';

/** The bundled retail catalog: its schema, its rules, and how it gets into a running server. */

const folder = new URL('.', import.meta.url);
export const modelsDir = new URL('models', folder).pathname;
export const CATALOG = 'retail';
/** The contract under which the model is fastest. */
export const MODEL = 'retail-shared-context';

/** The data ends on 2011-12-09, so that rules which speak of time get their "now" as a parameter. */
const asOf = '2011-12-10T00:00:00Z';

export const attributes = {
  title: { type: 'string' },
  price: { type: 'double' },
  countries: { type: 'string[]' },
  firstSold: { type: 'timestamp' },
  lastSold: { type: 'timestamp' },
  buyers: { type: 'int64' },
  units: { type: 'int64' },
} as const;

/** The bundled constraint sets. */
export const rules: Record<string, { rule: string; params?: Record<string, string> }> = {
  germany: { rule: '"Germany" in countries' },
  'under-2-pounds': { rule: 'price < 2.0' },
  'new-arrivals': {
    rule: 'firstSold > timestamp(params.asOf) - duration("2160h")',
    params: { asOf },
  },
  christmas: { rule: 'title.contains("CHRISTMAS")' },
  'in-stock': {
    rule: 'lastSold > timestamp(params.asOf) - duration("336h")',
    params: { asOf },
  },
};

export interface RetailItem {
  id: string;
  sid: number[];
  title: string;
  price: number;
  countries: string[];
  firstSold: string;
  lastSold: string;
}

/** A shopper of the evaluation split: everything bought but the last item, and that item. */
export interface Shopper {
  user: number;
  /** Distinct items in the order of their first purchase. */
  history: string[];
  /** Every purchase in order; what the model reads. */
  historyWithRepeats: string[];
  target: string;
  sameInvoice: boolean;
}

export function readItems(): Promise<RetailItem[]> {
  return readNdjson<RetailItem>('data/items.ndjson.gz');
}

export function readShoppers(): Promise<Shopper[]> {
  return readNdjson<Shopper>('data/histories.ndjson.gz');
}

/** What every call of the HTTP API comes down to. @throws Error with the server's code and message. */
export async function call<Answer>(url: string, method: string, body?: unknown): Promise<Answer> {
  const response = await fetch(url, {
    method,
    ...(body !== undefined && {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    }),
  });
  const answer = (await response.json()) as { error?: { code: string; message: string } };
  if (!response.ok) throw new Error(`${method} ${url}: ${answer.error?.code}: ${answer.error?.message}`);
  return answer as Answer;
}

/** Creates the catalog, uploads the items, activates them, and puts the rules in force. */
export async function loadRetail(server: string, model: string = MODEL): Promise<void> {
  const { catalogs, constraintSets, jobs } = new EspalierClient({ url: server });
  const { codebookSizes } = (await readManifest(model)).sid;
  await catalogs.put(CATALOG, { model, sid: { codebookSizes }, attributes });
  const items = () => createReadStream(new URL('data/items.ndjson.gz', folder));
  const { job } = await catalogs.upload(CATALOG, items, { isGzip: true, activate: true });
  await jobs.wait(job.id);
  for (const [name, rule] of Object.entries(rules)) await constraintSets.put(CATALOG, name, rule);
}

/** Waits until a job has ended. @throws Error when it failed. */
export async function jobEnd(server: string, id: string): Promise<void> {
  for (;;) {
    const { job } = await call<{ job: { state: string; error?: { message: string } } }>(
      `${server}/v1/jobs/${id}`,
      'GET',
    );
    if (job.state === 'succeeded') return;
    if (job.state !== 'queued' && job.state !== 'running')
      throw new Error(`job ${job.state}: ${job.error?.message}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function readManifest(model: string): Promise<{ sid: { codebookSizes: number[] } }> {
  return JSON.parse(await readFile(new URL(`models/${model}/1/model.json`, folder), 'utf8'));
}

async function readNdjson<Row>(path: string): Promise<Row[]> {
  const lines = createInterface({ input: createReadStream(new URL(path, folder)).pipe(createGunzip()) });
  const rows: Row[] = [];
  for await (const line of lines) rows.push(JSON.parse(line) as Row);
  return rows;
}
