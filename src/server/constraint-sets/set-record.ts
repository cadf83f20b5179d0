import { createHash, randomUUID } from 'node:crypto';
import { canonicalJson } from '../../decoder/index.js';
import { EspalierError } from '../../errors.js';
import type { RuleParams } from '../../static-trie/index.js';

/** What a set allows, whatever the catalog version: a rule, or a list that lies in a file of its own. */
export type SetTruth =
  | { kind: 'rule'; rule: string; params: RuleParams }
  | { kind: 'items' | 'sids'; count: number };

/** When a set is evaluated again, and how long it may go without. */
export interface RefreshPolicy {
  refreshSeconds: number;
  /** An evaluation older than this is stale. */
  maxAgeSeconds: number;
  /** What requests under a stale set get: a typed error, or answers under the last evaluation. */
  whenStale: 'refuse' | 'serve';
}

/** One version of a set, immutable. */
export interface SetVersion {
  version: number;
  truth: SetTruth;
  /** null: it is evaluated when it or a catalog version is activated, and not again. */
  refresh: RefreshPolicy | null;
  /** SHA-256 of the truth. */
  hash: string;
  createdAt: string;
  createdBy: string | null;
}

/** A constraint set as it is on disk, one file: a rename switches its versions. */
export interface SetRecord {
  name: string;
  /** Of this set alone: not of one of the same name that is made after its deletion. Absent in old records. */
  id?: string;
  /** The version in force; null before the first is activated. */
  active: number | null;
  /** When that was activated; `now` stood for it. */
  activatedAt: string | null;
  /** Versions that a rollback can bring back, the latest last. */
  earlier: number[];
  /** Versions that are or were in force, whatever rollbacks have left. Absent in old records. */
  activated?: number[];
  /** Ascending. */
  versions: SetVersion[];
  /** The highest number that was ever given, to a list that is still being read, too. */
  lastVersion: number;
  createdAt: string;
}

/** What rollbacks can reach. */
const MAX_EARLIER = 32;

/** SHA-256 of a rule with its parameters. */
export function hashOfRule(rule: string, params: RuleParams): string {
  return createHash('sha256').update(canonicalJson({ rule, params })).digest('hex');
}

export function newSet(name: string, createdAt: string): SetRecord {
  const nothing = {
    active: null,
    activatedAt: null,
    earlier: [],
    activated: [],
    versions: [],
    lastVersion: 0,
  };
  return { name, id: randomUUID(), ...nothing, createdAt };
}

/** The record with one more version, not in force yet. */
export function withVersion(record: SetRecord, version: SetVersion): SetRecord {
  const versions = [...record.versions, version].sort((a, b) => a.version - b.version);
  return { ...record, versions, lastVersion: Math.max(record.lastVersion, version.version) };
}

/** The version in force. */
export function activeVersionOf({ versions, active }: SetRecord): SetVersion | undefined {
  return versions.find(({ version }) => version === active);
}

/**
 * What `now` stands for in a set in force that is evaluated again over the same catalog version.
 * @param catalogActivatedAt when that version was activated
 */
export function evaluationTime(set: SetRecord, catalogActivatedAt: string, now: string): string {
  // A set that refreshes itself would soon be evaluated again.
  if (activeVersionOf(set)?.refresh != null) return now;
  // At the time at which it was last evaluated, so that the same items are allowed as before.
  return set.activatedAt! > catalogActivatedAt ? set.activatedAt! : catalogActivatedAt;
}

/** @throws EspalierError ESP_VERSION_NOT_FOUND */
export function findSetVersion({ name, versions }: SetRecord, version: number): SetVersion {
  const found = versions.find((one) => one.version === version);
  if (found !== undefined) return found;
  const known = versions.map((one) => one.version).join(', ') || 'none';
  throw new EspalierError(
    'ESP_VERSION_NOT_FOUND',
    `constraint set ${name} has no version ${version}; it has: ${known}`,
    { details: [{ field: 'version', expected: `one of ${known}`, found: String(version) }] },
  );
}

/** The record with another version in force, and the one before it kept for a rollback. */
export function withActiveVersion(record: SetRecord, version: number, activatedAt: string): SetRecord {
  const { active, earlier } = record;
  const isSame = active === null || active === version;
  const before = isSame ? earlier : [...earlier, active].slice(-MAX_EARLIER);
  const activated = [...new Set([...activatedOf(record), version])];
  return { ...record, active: version, activatedAt, earlier: before, activated };
}

/** Whether a version is in force, or ever was, a rollback or not. */
export function wasInForce(record: SetRecord, version: number): boolean {
  return activatedOf(record).includes(version);
}

function activatedOf({ active, earlier, activated }: SetRecord): number[] {
  return activated ?? [...(active === null ? [] : [active]), ...earlier];
}

/**
 * The record as it was before the active version, or as `version`, which is kept, left it. What is rolled back is
 * forgotten, so that rolling back again goes further back.
 * @throws EspalierError ESP_ROLLBACK_UNAVAILABLE
 */
export function rolledBackSet(
  record: SetRecord,
  version: number | undefined,
  activatedAt: string,
): SetRecord {
  const { name, active, earlier } = record;
  const left = { ...record, activatedAt, activated: activatedOf(record) };
  const index = earlier.findLastIndex((one) => version === undefined || one === version);
  if (index >= 0) return { ...left, active: earlier[index], earlier: earlier.slice(0, index) };
  if (version !== undefined && version !== active) {
    return { ...left, active: version, activated: [...new Set([...left.activated, version])] };
  }
  const reason = version === undefined ? 'nothing was active before' : `version ${version} is active`;
  const message = `constraint set ${name} cannot be rolled back: ${reason}; any version can be activated`;
  const expected = version === undefined ? 'an earlier version' : 'another than the active version';
  throw new EspalierError('ESP_ROLLBACK_UNAVAILABLE', message, {
    details: [{ field: 'version', expected, found: String(version ?? 'none') }],
  });
}

/**
 * The record with its newest `keep` versions, the one in force and the one before it; older ones are dropped.
 */
export function prunedSet(record: SetRecord, keep: number): { record: SetRecord; dropped: number[] } {
  const { versions, active, earlier } = record;
  const kept = new Set(versions.slice(-keep).map(({ version }) => version));
  for (const version of [active, earlier.at(-1)]) if (version != null) kept.add(version);
  const dropped = versions.map(({ version }) => version).filter((version) => !kept.has(version));
  if (dropped.length === 0) return { record, dropped };
  return {
    record: {
      ...record,
      versions: versions.filter(({ version }) => kept.has(version)),
      earlier: earlier.filter((version) => kept.has(version)),
      activated: activatedOf(record).filter((version) => kept.has(version)),
    },
    dropped,
  };
}
