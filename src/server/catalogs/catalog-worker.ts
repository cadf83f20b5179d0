import { parentPort } from 'node:worker_threads';
import { serveThread } from '../../decoder/index.js';
import { nextSetBit } from '../../kernels/index.js';
import {
  type AttributeSchema,
  type AttributeValue,
  type CatalogVersion,
  type ConstraintSet,
  compileRule,
  constraintSetFromItems,
  countLiveNodes,
  evaluateRule,
  jsonValueAt,
  openCatalogFile,
  type RuleParams,
  sidOf,
  verifyCatalogFile,
} from '../../static-trie/index.js';

/** The catalog worker: evaluates rules and verifies files, off the HTTP thread. */

export interface RuleTask {
  /** The catalog version's file. */
  path: string;
  schema: AttributeSchema;
  rule: string;
  params: RuleParams;
  nowMs: number;
}

export interface RulePreview {
  items: number;
  leaves: number;
  liveChildrenPerLevel: number[];
  sample: { id: string; sid: number[]; attributes: Record<string, AttributeValue> }[];
}

const SAMPLE_SIZE = 10;

const handlers = {
  /** Checks a rule against a catalog's attributes, without evaluating it. */
  checkRule(rule: string, schema: AttributeSchema, params: RuleParams): void {
    compileRule(rule, schema, params);
  },

  /** Reads a catalog version's file as a whole. @throws EspalierError ESP_ARTIFACT_CORRUPT */
  verify(path: string): void {
    verify(path);
  },

  evaluate(task: RuleTask): ConstraintSet {
    return evaluate(open(task.path), task);
  },

  preview(task: RuleTask): RulePreview {
    const version = open(task.path);
    const itemBits = evaluateBits(version, task);
    const { trie, leafItems } = version;
    const set = constraintSetFromItems(trie, leafItems, itemBits);
    return {
      items: set.itemCount,
      leaves: set.leafCount,
      liveChildrenPerLevel: countLiveNodes(trie, set),
      sample: sampleOf(version, itemBits),
    };
  },
};
export type CatalogHandlers = typeof handlers;

/** The versions in use, the latest last: the active one, and the one that is to follow it. */
const opened = new Map<string, CatalogVersion>();
const MAX_OPENED = 2;

/** Files that were sound when they were read; they never change, so that once is enough for rules. */
const verified = new Set<string>();

function verify(path: string): void {
  verified.delete(path);
  verifyCatalogFile(path);
  verified.add(path);
}

function open(path: string): CatalogVersion {
  if (!verified.has(path)) verify(path);
  const version = opened.get(path) ?? openCatalogFile(path);
  opened.delete(path);
  opened.set(path, version);
  if (opened.size > MAX_OPENED) opened.delete(opened.keys().next().value!);
  return version;
}

function evaluateBits({ table }: CatalogVersion, { rule, schema, params, nowMs }: RuleTask): Uint32Array {
  return evaluateRule(compileRule(rule, schema, params), table, nowMs);
}

function evaluate(version: CatalogVersion, task: RuleTask): ConstraintSet {
  return constraintSetFromItems(version.trie, version.leafItems, evaluateBits(version, task));
}

/** The first items of the set, in the order of their numbers. */
function sampleOf(version: CatalogVersion, itemBits: Uint32Array): RulePreview['sample'] {
  const { ids, table } = version;
  const sample: RulePreview['sample'] = [];
  for (let item = -1; sample.length < SAMPLE_SIZE; ) {
    item = nextSetBit(itemBits, item + 1, ids.length);
    if (item === ids.length) break;
    const attributes: Record<string, AttributeValue> = {};
    for (const [name, column] of table.columns) {
      const value = jsonValueAt(column, item);
      if (value !== undefined) attributes[name] = value;
    }
    sample.push({ id: ids.at(item), sid: Array.from(sidOf(version, item)), attributes });
  }
  return sample;
}

serveThread(parentPort!, handlers, async () => opened.clear());
