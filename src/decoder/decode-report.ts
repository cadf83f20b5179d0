/** How a batch decoded: plain numbers, so that they cross threads, of which the server's metrics are made. */
export interface DecodeReport {
  /** Histories that were cached, or read once for several requests. */
  prefillHits: number;
  /** Wall time of reading histories, of each group of requests that decoded together; none where all were cached. */
  prefillMs: number[];
  /** Wall time of each model run after the histories were read. */
  modelStepMs: number[];
  /** Wall time of each step of the constraint. */
  constraintStepMs: number[];
  /** Of some beams of some steps: the live children that the step chose from. */
  liveChildren: number[];
  /** Beams that should not have been: see `BeamWatch`. */
  deadBeams: number;
}

export function newReport(): DecodeReport {
  return {
    prefillHits: 0,
    prefillMs: [],
    modelStepMs: [],
    constraintStepMs: [],
    liveChildren: [],
    deadBeams: 0,
  };
}
