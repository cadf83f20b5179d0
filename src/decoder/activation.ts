import type { ConstraintSet } from '../static-trie/index.js';
import type { ModelInfo } from './model-fingerprint.js';

/** Which model a catalog decodes with, and where its folder is. */
export interface ModelRef {
  name: string;
  version: number;
  folder: string;
}

/** A constraint set as the engine gets it: evaluated for the catalog version that is active. */
export interface SetSnapshot {
  name: string;
  /** The bitmaps are that version's leaf ranks; over any other they would allow the wrong items. */
  catalogVersion: number;
  version: number;
  set: ConstraintSet;
}

/** Everything that the engine needs to serve a catalog version. */
export interface CatalogActivation {
  catalog: string;
  version: number;
  /** The catalog version's file. */
  path: string;
  model: ModelRef;
  /** What the model must be, where that is known: an engine that starts later may find other files in its folder. */
  modelInfo?: ModelInfo;
  sets: SetSnapshot[];
}
