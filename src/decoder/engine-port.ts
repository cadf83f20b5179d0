import type { EspalierError } from '../errors.js';
import type { AppliedChanges, CatalogActivation, ModelRef, SetSnapshot } from './activation.js';
import type { Calibration } from './calibrate.js';
import type { BatchReply, EngineEvent, EngineOptions, LoadedModel } from './engine.js';
import type { EngineHandlers } from './engine-worker.js';
import { ProcessClient } from './process-rpc.js';
import type { RecommendQuery } from './recommend-query.js';
import { ThreadClient } from './thread-rpc.js';

/**
 * A decode engine somewhere else. Calls take effect in the order in which they were made, so a batch decodes
 * under what was committed and put before it, whatever comes meanwhile.
 */
export interface EnginePort {
  loadModel(ref: ModelRef, tried?: LoadedModel): Promise<LoadedModel>;
  calibrate(ref: ModelRef): Promise<Calibration>;
  releaseModels(keep: readonly ModelRef[]): Promise<void>;
  openModels(): Promise<string[]>;
  /** Makes the next `prepareCatalog` short; other calls do not wait for it. */
  openCatalog(activation: CatalogActivation): Promise<void>;
  /** Sets of what was opened, a few at a time. @see setPortions */
  openSets(catalog: string, snapshots: readonly SetSnapshot[]): Promise<void>;
  prepareCatalog(activation: CatalogActivation): Promise<void>;
  commitCatalog(catalog: string): Promise<void>;
  discardCatalog(catalog: string): Promise<void>;
  putSet(catalog: string, snapshot: SetSnapshot): Promise<void>;
  deleteSet(catalog: string, name: string): Promise<void>;
  applyChanges(catalog: string, upTo: number): Promise<AppliedChanges>;
  /** As `removeCatalog`, but what is prepared stays. */
  stopCatalog(catalog: string): Promise<void>;
  removeCatalog(catalog: string): Promise<void>;
  recommendBatch(queries: readonly RecommendQuery[]): Promise<BatchReply>;
  /** Takes a request out of the batch under way, between two steps. */
  cancel(requestId: string): void;
  /** Ends the engine after the calls that it already has. */
  close(): Promise<void>;
  /** Ends the engine at once, also amid a model run; absent where that would end this process, too. */
  kill?(): void;
}

/**
 * @param onExit called once if the engine ends without having been asked to
 * @param onEvent gets what the engine says of its own accord
 */
export type StartEngine = (
  onExit: (error: EspalierError) => void,
  onEvent?: (event: EngineEvent) => void,
) => EnginePort;

/** One that can be killed. */
export type StartProcess = (...listeners: Parameters<StartEngine>) => Required<EnginePort>;

/** How an engine is kept apart from this thread: on another one, or so that its crashes and hangs are contained. */
export const engineIsolations = ['thread', 'process'] as const;
export type EngineIsolation = (typeof engineIsolations)[number];

const WORKER = new URL('./engine-worker.js', import.meta.url);

/** @param script what the thread or the process runs */
export function engineStarter(
  isolation: EngineIsolation,
  options: EngineOptions,
  script: URL = WORKER,
): StartEngine {
  if (isolation === 'thread') {
    return (onExit, onEvent) =>
      portOf(new ThreadClient<EngineHandlers>(script, options, onExit, asEvents(onEvent)));
  }
  return processStarter(options, script);
}

export function processStarter(options: EngineOptions, script: URL = WORKER): StartProcess {
  return (onExit, onEvent) => {
    const client = new ProcessClient<EngineHandlers>(script, options, onExit, asEvents(onEvent));
    return { ...portOf(client), kill: () => client.kill() };
  };
}

function asEvents(onEvent: ((event: EngineEvent) => void) | undefined) {
  return (event: unknown) => onEvent?.(event as EngineEvent);
}

function portOf(client: Pick<ThreadClient<EngineHandlers>, 'call' | 'close'>): EnginePort {
  return {
    loadModel: (ref, tried) => client.call('loadModel', ref, tried),
    calibrate: (ref) => client.call('calibrate', ref),
    releaseModels: (keep) => client.call('releaseModels', keep),
    openModels: () => client.call('openModels'),
    openCatalog: (activation) => client.call('openCatalog', activation),
    openSets: (catalog, snapshots) => client.call('openSets', catalog, snapshots),
    prepareCatalog: (activation) => client.call('prepareCatalog', activation),
    commitCatalog: (catalog) => client.call('commitCatalog', catalog),
    discardCatalog: (catalog) => client.call('discardCatalog', catalog),
    putSet: (catalog, snapshot) => client.call('putSet', catalog, snapshot),
    deleteSet: (catalog, name) => client.call('deleteSet', catalog, name),
    applyChanges: (catalog, upTo) => client.call('applyChanges', catalog, upTo),
    stopCatalog: (catalog) => client.call('stopCatalog', catalog),
    removeCatalog: (catalog) => client.call('removeCatalog', catalog),
    recommendBatch: (queries) => client.call('recommendBatch', queries),
    // An engine that is gone has nothing to cancel.
    cancel: (requestId) => void client.call('cancel', requestId).catch(() => {}),
    close: () => client.close(),
  };
}
