export type { CatalogFacts, SetFreshness } from './catalog-metrics.js';
export { Metrics, type MetricsSources } from './metrics.js';
