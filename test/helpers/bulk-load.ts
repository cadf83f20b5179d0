import type { ServerProcess } from '../../examples/online-retail/server-process.js';
import type { Reply } from './server.js';

export const NDJSON = { 'content-type': 'application/x-ndjson' };
const JOBS = '/v1/bulk-recommendations/jobs';

/** Starts a bulk job. @param body requests, one a line as JSON, or text as it is */
export async function postBulkJob(
  server: ServerProcess,
  body: readonly object[] | string | Buffer,
  headers: Record<string, string> = NDJSON,
): Promise<Pick<Reply, 'status' | 'body'>> {
  const lines = Array.isArray(body) ? body.map((one) => JSON.stringify(one)).join('\n') : (body as string);
  const response = await fetch(`${server.url}${JOBS}`, { method: 'POST', headers, body: lines });
  return { status: response.status, body: await response.json() };
}

/** A line of an output. */
export interface OutputLine {
  line: number;
  error?: { code: string };
  items: { id: string; score: number }[];
  versions: object;
}

export async function outputOf(server: ServerProcess, id: string): Promise<OutputLine[]> {
  const text = await (await fetch(`${server.url}${JOBS}/${id}/output`)).text();
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as OutputLine);
}

/** What is the same whoever decodes a request, and with whom; scores to a few digits. */
export function comparable({ items, error, versions }: OutputLine): object {
  return { error, versions, items: items?.map(({ id, score }) => [id, score.toFixed(3)]) };
}
