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
 * it is excluded, by what `excludedBy` names; the decode ended before it; or the catalog has no such item.
 */
export const itemOutcomes = [
  'answered',
  'beyondK',
  'diversity',
  'dropped',
  'excluded',
  'notReached',
  'unknown',
] as const;
export type ItemOutcome = (typeof itemOutcomes)[number];

export interface ExplainedItem {
  id: string;
  outcome: ItemOutcome;
  /** 1 for the best. */
  rank?: number;
  level?: number;
  /** null: the model gives the item's code no probability. */
  score?: number | null;
  /** null: nothing was kept. */
  cut?: number | null;
  excludedBy?: string[];
}

export interface Explanation {
  steps: ExplainedStep[];
  items?: ExplainedItem[];
}
