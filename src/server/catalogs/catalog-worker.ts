import { parentPort } from 'node:worker_threads';
import { serveThread, tellParent } from '../../decoder/index.js';
import {
  type AttributeSchema,
  type AttributeValue,
  type CatalogVersion,
  type ConstraintSet,
  compileRule,
  constraintSetFromItems,
  countLiveNodes,
  evaluateRule,
  type ItemFile,
  jsonValueAt,
  openCatalogFile,
  type RuleParams,
  readItems,
  sampleItems,
  sidOf,
  verifyCatalogFile,
  writeCatalogFile,
} from '../../static-trie/index.js';

/** The catalog worker: parses uploads, builds tries and evaluates rules, off the HTTP thread. */

export interface BuildTask {
  jobId: string;
  files: ItemFile[];
  /** What they may unpack to, together. */
  maxBytes: number;
  /** Where the catalog version's file goes. */
  path: string;
  schema: AttributeSchema;
  codebookSizes: number[];
}

export interface BuildEvent {
  jobId: string;
  phase: string;
  fraction: number;
}

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
  /** Spread over the set, in the order of the items' numbers. */
  sample: { id: string; sid: number[]; attributes: Record<string, AttributeValue> }[];
  warnings: string[];
}

const SAMPLE_SIZE = 10;

const handlers = {
  async build(task: BuildTask): Promise<{ items: number; leaves: number }> {
    const progress = (phase: string, fraction: number) =>
      tellParent(parentPort!, { jobId: task.jobId, phase, fraction } satisfies BuildEvent);
    progress('parsing', 0);
    const version = await readItems(task.files, task.schema, task.codebookSizes, {
      onProgress: progress,
      maxBytes: task.maxBytes,
    });
    progress('writing', 0);
    writeCatalogFile(task.path, version);
    return { items: version.leafItems.itemCount, leaves: version.trie.leafCount };
  },

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
      sample: sampleItems(itemBits, set.itemCount, SAMPLE_SIZE).map((item) => shown(version, item)),
      warnings: set.itemCount === 0 ? ['the rule allows no item'] : [],
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

function shown(version: CatalogVersion, item: number): RulePreview['sample'][number] {
  const attributes: Record<string, AttributeValue> = {};
  for (const [name, column] of version.table.columns) {
    const value = jsonValueAt(column, item);
    if (value !== undefined) attributes[name] = value;
  }
  return { id: version.ids.at(item), sid: Array.from(sidOf(version, item)), attributes };
}

serveThread(parentPort!, handlers, async () => opened.clear());
