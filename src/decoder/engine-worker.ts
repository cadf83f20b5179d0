import { parentPort, workerData } from 'node:worker_threads';
import { DecodeEngine } from './engine.js';
import { serveThread } from './thread-rpc.js';

/** The decode worker: a thread that does nothing but decode. */
export interface EngineWorkerData {
  threads: number;
}

const engine = new DecodeEngine((workerData as EngineWorkerData).threads);

const handlers = {
  loadModel: engine.loadModel.bind(engine),
  releaseModels: engine.releaseModels.bind(engine),
  openModels: engine.openModels.bind(engine),
  prepareCatalog: engine.prepareCatalog.bind(engine),
  commitCatalog: engine.commitCatalog.bind(engine),
  discardCatalog: engine.discardCatalog.bind(engine),
  putSet: engine.putSet.bind(engine),
  recommend: engine.recommend.bind(engine),
};
export type EngineHandlers = typeof handlers;

serveThread(parentPort!, handlers, () => engine.close());
