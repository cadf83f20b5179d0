import { parentPort } from 'node:worker_threads';
import { type ActivationChanges, serveThread } from '../../decoder/index.js';
import {
  type AttributeSchema,
  type CatalogSnapshot,
  compileRule,
  constraintSetFromItems,
  countLiveNodes,
  type DerivedSet,
  loadRuleParser,
  type RuleParams,
  type SetTruth,
  sampleItems,
} from '../../static-trie/index.js';
import { EvaluatedLists } from './evaluated-lists.js';
import { type ItemView, type SetToExplain, type ShownItem, showItem, viewItem } from './item-view.js';
import { OpenedSnapshots, type VersionFile } from './opened-snapshots.js';

/** The catalog worker: evaluates rules and verifies small files, off the HTTP thread. */

/** A catalog version with its small changes. */
export interface VersionTask extends VersionFile {
  schema: AttributeSchema;
  changes: ActivationChanges;
}

export interface SetTask extends VersionTask {
  truth: SetTruth;
  nowMs: number;
}

export interface RulePreview {
  items: number;
  leaves: number;
  liveChildrenPerLevel: number[];
  /** Spread over the set, in the order of the items' numbers. */
  sample: ShownItem[];
  warnings: string[];
}

const SAMPLE_SIZE = 10;

const handlers = {
  /** Checks a rule against a catalog's attributes, without evaluating it. */
  checkRule(rule: string, schema: AttributeSchema, params: RuleParams): void {
    compileRule(rule, schema, params);
  },

  /** Reads a catalog version's file as a whole. @throws EspalierError ESP_ARTIFACT_CORRUPT */
  verify(file: VersionFile): void {
    lists.forget(file.path);
    snapshots.verify(file);
  },

  /** Whether a catalog version's file was sound when the verify worker read it. Then the first rule finds it open. */
  setVerified(task: VersionTask, isSound: boolean): void {
    lists.forget(task.path);
    snapshots.setVerified(task.path, isSound);
    if (isSound) open(task);
  },

  /** The catalog is gone. */
  forget(catalog: string): void {
    snapshots.forget(catalog);
  },

  evaluate(task: SetTask): DerivedSet {
    const derived = open(task).derive(task.truth, task.nowMs);
    if (derived.list !== undefined) lists.keep(task.path, derived.list.hash, derived.set);
    return derived;
  },

  /** @returns for each id whether the version has it, removed items not among them. */
  hasItems(task: VersionTask, ids: readonly string[]): boolean[] {
    const snapshot = open(task);
    return ids.map((id) => {
      const item = snapshot.version.ids.find(id);
      return item >= 0 && !snapshot.isRemoved(item);
    });
  },

  viewItem(task: VersionTask, id: string, sets: readonly SetToExplain[]): ItemView | undefined {
    return viewItem(open(task), id, sets, ({ hash }) => lists.find(task.path, hash));
  },

  preview(task: SetTask): RulePreview {
    const snapshot = open(task);
    const { bits: itemBits } = snapshot.select(task.truth, task.nowMs);
    snapshot.clearRemoved(itemBits);
    const { trie, leafItems } = snapshot.version;
    const set = constraintSetFromItems(trie, leafItems, itemBits);
    return {
      items: set.itemCount,
      leaves: set.leafCount,
      liveChildrenPerLevel: countLiveNodes(trie, set),
      sample: sampleItems(itemBits, set.itemCount, SAMPLE_SIZE).map((item) => showItem(snapshot, item)),
      warnings: set.itemCount === 0 ? ['the rule allows no item'] : [],
    };
  },
};
export type CatalogHandlers = typeof handlers;

loadRuleParser();
const snapshots = new OpenedSnapshots();
const lists = new EvaluatedLists();

function open(task: VersionTask): CatalogSnapshot {
  return snapshots.open(task, task.schema, task.changes);
}

serveThread(parentPort!, handlers, async () => snapshots.close());
