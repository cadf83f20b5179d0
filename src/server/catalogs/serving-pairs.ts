import { EspalierError } from '../../errors.js';
import type { CatalogRecord, ModelName, ServingPair } from './catalog-store.js';

/** What a rollback can reach; older pairs are forgotten. */
const MAX_EARLIER = 32;

/**
 * The record with another pair active, and the one before it kept for a rollback. A pair that is activated
 * again changes nothing but its time.
 */
export function withActive(record: CatalogRecord, pair: ServingPair): CatalogRecord {
  const { active, earlier } = record;
  const activated = [...new Set([...activatedOf(record), pair.version])];
  if (active === null || isSamePair(active, pair)) return { ...record, active: pair, activated };
  return { ...record, active: pair, earlier: [...earlier, active].slice(-MAX_EARLIER), activated };
}

/** What a rollback brings back. */
export type RestoredPair = Pick<ServingPair, 'version' | 'model'>;

/**
 * The record as it was before the active pair, or as the latest earlier pair of a version left it. Pairs
 * rolled back are forgotten, so that rolling back again goes further back, and never to what was just left.
 * @param named a version that is kept, and the model that it was built for, which it comes back with where no earlier
 *   pair has it
 * @returns the record without an active pair, and the pair to activate.
 * @throws EspalierError ESP_ROLLBACK_UNAVAILABLE
 */
export function rolledBack(
  record: CatalogRecord,
  named: RestoredPair | undefined,
): { record: CatalogRecord; pair: RestoredPair } {
  const { name, active, earlier } = record;
  const left = { ...record, active: null, activated: activatedOf(record) };
  const index = earlier.findLastIndex(({ version }) => named === undefined || version === named.version);
  if (index >= 0) return { record: { ...left, earlier: earlier.slice(0, index) }, pair: earlier[index] };
  if (named !== undefined && named.version !== active?.version) return { record: left, pair: named };
  const reason = named === undefined ? 'nothing was active before' : `version ${named.version} is active`;
  const message = `catalog ${name} cannot be rolled back: ${reason}; any version can be activated`;
  const expected = named === undefined ? 'an earlier version' : 'another than the active version';
  throw new EspalierError('ESP_ROLLBACK_UNAVAILABLE', message, {
    details: [{ field: 'version', expected, found: String(named?.version ?? 'none') }],
  });
}

export function isSameModel(a: ModelName, b: ModelName): boolean {
  return a.name === b.name && a.version === b.version;
}

function isSamePair(a: ServingPair, b: ServingPair): boolean {
  return a.version === b.version && isSameModel(a.model, b.model);
}

/** Whether a version serves, or ever did, a rollback or not. */
export function wasActive(record: CatalogRecord, version: number): boolean {
  return activatedOf(record).includes(version);
}

function activatedOf(record: CatalogRecord): number[] {
  return record.activated ?? namedVersions(record);
}

/** Versions that a record says there are. */
export function namedVersions({ active, earlier, activated = [] }: CatalogRecord): number[] {
  const pairs = active === null ? earlier : [active, ...earlier];
  return [...new Set([...pairs.map(({ version }) => version), ...activated])];
}

/** The record without the pairs of versions that are gone. */
export function withoutVersions(record: CatalogRecord, versions: readonly number[]): CatalogRecord {
  const isKept = (version: number) => !versions.includes(version);
  return {
    ...record,
    earlier: record.earlier.filter(({ version }) => isKept(version)),
    activated: activatedOf(record).filter(isKept),
  };
}

/**
 * Versions that retention lets go: all but the newest `keep`, the active one, and the one that a rollback brings
 * back.
 * @param versions ascending
 * @param needed those that something under way still reads
 */
export function outdatedVersions(
  { active, earlier }: CatalogRecord,
  versions: readonly number[],
  keep: number,
  needed: readonly number[] = [],
): number[] {
  const kept = new Set([...versions.slice(-keep), active?.version, earlier.at(-1)?.version, ...needed]);
  return versions.filter((version) => !kept.has(version));
}
