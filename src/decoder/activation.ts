import type { EvaluatedSet } from '../static-trie/index.js';
import type { ModelInfo } from './model-fingerprint.js';

/** Which model a catalog decodes with, and where its folder is. */
export interface ModelRef {
  name: string;
  version: number;
  folder: string;
}

/** A constraint set as the engine gets it: evaluated for the catalog version that is active. */
export interface SetSnapshot extends EvaluatedSet {
  name: string;
  /** The bitmaps are that version's leaf ranks; over any other they would allow the wrong items. */
  catalogVersion: number;
  version: number;
  /** Milliseconds since 1970, after which requests under the set are refused; null: never. */
  expiresAtMs: number | null;
}

/** The small changes to a catalog that a version of it does not have in it. */
export interface ActivationChanges {
  /** The catalog's log of changes. */
  path: string;
  /** The version has the changes up to this one. */
  after: number;
  /** And serves with those up to this one. */
  upTo: number;
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
  /** null where the catalog has no log, and cannot change. */
  changes: ActivationChanges | null;
}

/** What changes that came into force did to a catalog. */
export interface AppliedChanges {
  /** The sets that have other items than before, as their bitmaps count them: removed items are still among them. */
  sets: { name: string; items: number; leaves: number }[];
  /** Items that were removed since the version was built. */
  removedItems: number;
}
