import { parentPort } from 'node:worker_threads';
import { serveThread } from '../../decoder/index.js';
import { makeThreadNice } from '../jobs/niceness.js';
import { type VersionFile, verifyVersionFile } from './opened-snapshots.js';

/** The verify worker: reads whole files, which takes seconds, so that neither rules nor requests wait for it. */
const handlers = {
  /** @throws EspalierError ESP_ARTIFACT_CORRUPT */
  verify(file: VersionFile): void {
    verifyVersionFile(file);
  },
};
export type VerifyHandlers = typeof handlers;

makeThreadNice();
serveThread(parentPort!, handlers, async () => {});
