/** Told how far a long task is: the name of its phase, and the part of the phase that is done, 0 to 1. */
export type Progress = (phase: string, fraction: number) => void;
