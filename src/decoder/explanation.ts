/** One step of a decode. */
export interface ExplainedStep {
  /** 0 for the first code. */
  level: number;
  /** Live children of all beams: what the step chose from. */
  liveChildren: number;
  /** The beams that it kept, best first. */
  kept: { sid: number[]; score: number }[];
}

/**
 * What became of an item: it is in the answer (at `rank`); it was found, but is not among the best k or gives way to
 * the diversity; its prefix fell out of the beam at `level`, where it scored `score` and the last one kept had `cut`;
 * it is excluded, by what `excludedBy` names; or the catalog has no such item.
 */
export const itemOutcomes = ['answered', 'beyondK', 'diversity', 'dropped', 'excluded', 'unknown'] as const;
export type ItemOutcome = (typeof itemOutcomes)[number];

export interface ExplainedItem {
  id: string;
  outcome: ItemOutcome;
  /** Among the items that were found, before k and diversity; 1 for the best. */
  rank?: number;
  /** The step at which the item's prefix was dropped. */
  level?: number;
  /** The item's, or its prefix's at that step; null: the model gives its code no probability. */
  score?: number | null;
  /** The lowest score that the step kept; null: it kept nothing. */
  cut?: number | null;
  /** All that apply: `removed`, `set <name>`, `filter`, `include`, `exclude`, `history`. */
  excludedBy?: string[];
}

export interface Explanation {
  steps: ExplainedStep[];
  items?: ExplainedItem[];
}
