import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { buildRetailCatalog, modelFolder } from '../helpers/retail.js';

const script = new URL('../helpers/leak-run.mjs', import.meta.url).pathname;
const [decodes, perReload] = process.env.LONG_TESTS ? [10_000, 200] : [640, 40];
/** What an allocator may keep; a model alone is larger, and the long run opens fifty. */
const SLACK_BYTES = 24 * 1024 * 1024;

const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1];

describe('memory', () => {
  it(`stays flat over ${decodes} decodes with a reload every ${perReload}`, async () => {
    const { path } = await buildRetailCatalog();
    const folders = ['retail', 'retail-shared-context'].map(modelFolder);
    const args = ['--expose-gc', script, String(decodes), String(perReload), path, ...folders];
    const resident = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as number[];
    expect(resident).toHaveLength(decodes / perReload);
    // After the first quarter, in which buffers grow to their size.
    const quarter = resident.length >> 2;
    const early = median(resident.slice(quarter, quarter * 2));
    const late = median(resident.slice(-quarter));
    const text = resident.map((bytes) => (bytes / 1e6).toFixed(0)).join(', ');
    console.log(`resident MB after each reload: ${text}`);
    expect(late - early, text).toBeLessThan(SLACK_BYTES);
  });
});
