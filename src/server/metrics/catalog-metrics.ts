import { Gauge, type Registry } from 'prom-client';

/** How fresh the constraint sets of a catalog are, and how large. */
export interface SetFreshness {
  catalog: string;
  sets: number;
  /** Sets whose last refresh failed, or whose files are damaged. */
  failing: number;
  /** Sets whose evaluation is older than it may become. */
  stale: number;
  /** Since the longest-ago evaluation of a set that refreshes itself. */
  oldestAgeSeconds: number;
  /** Of the bitmaps of its sets, and how many items they allow, all together. */
  bytes: number;
  items: number;
}

/** The version of a catalog that is active. */
export interface CatalogFacts {
  catalog: string;
  version: number;
  items: number;
  leaves: number;
  /** Of its file. */
  bytes: number;
  /** Since it was activated. */
  ageSeconds: number;
}

type Row<Facts> = [name: string, help: string, read: (facts: Facts) => number];

const setRows: Row<SetFreshness>[] = [
  ['espalier_constraint_sets', 'Constraint sets.', ({ sets }) => sets],
  [
    'espalier_constraint_sets_failing',
    'Constraint sets whose last refresh failed, or whose files are damaged.',
    ({ failing }) => failing,
  ],
  [
    'espalier_constraint_sets_stale',
    'Constraint sets whose evaluation is older than their maxAgeSeconds.',
    ({ stale }) => stale,
  ],
  [
    'espalier_constraint_set_oldest_age_seconds',
    'Time since the oldest evaluation of a set that refreshes itself.',
    ({ oldestAgeSeconds }) => oldestAgeSeconds,
  ],
  [
    'espalier_constraint_set_bytes',
    'Size of the bitmaps of all constraint sets; sets of one rule may share theirs.',
    ({ bytes }) => bytes,
  ],
  ['espalier_constraint_set_items', 'Items that the constraint sets allow, summed.', ({ items }) => items],
];

const catalogRows: Row<CatalogFacts>[] = [
  ['espalier_catalog_version', 'The version that is active.', ({ version }) => version],
  ['espalier_catalog_items', 'Items of the active version.', ({ items }) => items],
  ['espalier_catalog_leaves', 'Distinct SIDs of the active version.', ({ leaves }) => leaves],
  ['espalier_catalog_bytes', "Size of the active version's file.", ({ bytes }) => bytes],
  [
    'espalier_catalog_age_seconds',
    'Time since the active version was activated.',
    ({ ageSeconds }) => ageSeconds,
  ],
];

/** Gauges with the catalog as label: there are only so many. Sets may be thousands, and are summed. */
export function registerCatalogMetrics(
  registry: Registry,
  sets: () => SetFreshness[],
  catalogs: () => CatalogFacts[],
): void {
  registerRows(registry, setRows, onceAScrape(sets));
  registerRows(registry, catalogRows, onceAScrape(catalogs));
}

function registerRows<Facts extends { catalog: string }>(
  registry: Registry,
  rows: readonly Row<Facts>[],
  facts: () => Facts[],
): void {
  for (const [name, help, read] of rows) {
    new Gauge({
      name,
      help,
      labelNames: ['catalog'],
      registers: [registry],
      collect() {
        this.reset();
        for (const found of facts()) this.set({ catalog: found.catalog }, read(found));
      },
    });
  }
}

/** The gauges of one scrape are collected in one turn of the event loop, and read the same. */
function onceAScrape<Facts>(read: () => Facts): () => Facts {
  let found: Facts | undefined;
  return () => {
    if (found === undefined) {
      found = read();
      setImmediate(() => {
        found = undefined;
      });
    }
    return found;
  };
}
