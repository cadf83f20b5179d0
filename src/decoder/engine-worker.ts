import { parentPort, workerData } from 'node:worker_threads';
import { loadRuleParser } from '../static-trie/index.js';
import { DecodeEngine, type EngineEvent, type EngineOptions } from './engine.js';
import { serveProcess, tellParentProcess } from './process-rpc.js';
import { sendEvent } from './rpc.js';
import { serveThread } from './thread-rpc.js';

/** The decode worker: a thread, or a process, that does nothing but decode. */
loadRuleParser();
const options = (parentPort === null ? JSON.parse(process.argv[2]) : workerData) as EngineOptions;
const engine = new DecodeEngine(options, tell);

const handlers = {
  loadModel: engine.loadModel.bind(engine),
  calibrate: engine.calibrate.bind(engine),
  releaseModels: engine.releaseModels.bind(engine),
  openModels: engine.openModels.bind(engine),
  openCatalog: engine.openCatalog.bind(engine),
  openSets: engine.openSets.bind(engine),
  prepareCatalog: engine.prepareCatalog.bind(engine),
  commitCatalog: engine.commitCatalog.bind(engine),
  discardCatalog: engine.discardCatalog.bind(engine),
  putSet: engine.putSet.bind(engine),
  deleteSet: engine.deleteSet.bind(engine),
  applyChanges: engine.applyChanges.bind(engine),
  stopCatalog: engine.stopCatalog.bind(engine),
  removeCatalog: engine.removeCatalog.bind(engine),
  recommendBatch: engine.recommendBatch.bind(engine),
  cancel: engine.cancel.bind(engine),
};
export type EngineHandlers = typeof handlers;

const close = () => engine.close();
// A cancel that waited for the batch would come too late, and no batch should wait for a catalog to be opened.
const urgent = ['cancel', 'openCatalog'];
/** What an engine says of its own accord. */
function tell(event: EngineEvent): void {
  if (parentPort === null) tellParentProcess(event);
  else sendEvent({ post: (message) => parentPort!.postMessage(message) }, event);
}

if (parentPort === null) serveProcess(handlers, close, urgent);
else serveThread(parentPort, handlers, close, urgent);
