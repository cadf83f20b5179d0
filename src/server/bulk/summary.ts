import type { ChunkCounts } from './bulk-folder.js';
import type { BulkPins } from './bulk-pins.js';

/** What a bulk job came to, and under what its answers were made. */
export interface BulkSummary {
  requests: number;
  answered: number;
  failed: number;
  versions: {
    catalog: string;
    version: number;
    model: { name: string; version: number };
    constraintSets: { name: string; version: number }[];
  }[];
}

/** Only of what requests named: thousands of sets may have been pinned. */
export function summaryOf(pins: BulkPins, counts: readonly ChunkCounts[]): BulkSummary {
  const used = new Map<string, Set<string>>();
  let [answered, failed] = [0, 0];
  for (const chunk of counts) {
    answered += chunk.answered;
    failed += chunk.failed;
    for (const [catalog, sets] of Object.entries(chunk.used)) {
      used.set(catalog, new Set([...(used.get(catalog) ?? []), ...sets]));
    }
  }
  const versions = [...used].sort().map(([catalog, names]) => {
    const { version, model, sets } = pins.catalogs[catalog]!;
    const named = sets.filter(({ name }) => names.has(name));
    return {
      catalog,
      version,
      model: { name: model.name, version: model.version },
      constraintSets: named.map((set) => ({ name: set.name, version: set.version })),
    };
  });
  return { requests: answered + failed, answered, failed, versions };
}
