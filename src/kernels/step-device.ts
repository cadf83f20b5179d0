import type { LevelTokens } from './log-probs.js';
import type { CudaMemory } from './native/addon.js';
import type { Constraint, LiveLeaves, TrieArrays } from './types.js';

/** What a model's steps look like. */
export interface StepShape {
  vocabSize: number;
  /** [levels] */
  tokens: readonly LevelTokens[];
}

/** How one engine's device stands, as plain data. */
export interface DeviceReport {
  /** `ready`: nothing runs there; `running`: steps do; `failed`: none do any more, the CPU does. */
  state: 'ready' | 'running' | 'failed';
  /** One line: what was last decided, or went wrong. */
  message: string;
  /** Whether somebody should look. */
  isProblem: boolean;
  /** What runs the decode step. */
  stepName: string;
  /** What the engine holds of the device; null where it cannot be asked. */
  memory: CudaMemory | null;
}

/**
 * Where steps run, where that may not be the CPU. What cannot be done there is done on the CPU and said in the report:
 * nothing here throws for the device's sake.
 */
export interface StepDevice {
  /** Brings a trie there before its first step, beside steps that run. */
  prepareTrie(trie: TrieArrays): Promise<void>;
  /** Compares the device's steps over the trie with the CPU's, and decides which of them runs. */
  decide(trie: TrieArrays, shape: StepShape): void;
  /** Brings a set there before its first step, to stay until it is dropped. @returns its bytes, or 0 where it does not go there */
  prepareSet(constraint: Constraint): number;
  /** Frees a set that no request will name again; one that is used all the same is brought there again. */
  dropSet(live: LiveLeaves): void;
  /** Frees what lies there of a trie that no step will read. */
  release(trie: TrieArrays): void;
  report(): DeviceReport;
  close(): void;
}
