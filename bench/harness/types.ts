/** What a benchmark run is made of, and what it leaves behind: `bench/results/*.json`. */

/** Where a value lies and how sure that is: the median, and its bootstrapped 95 % interval. */
export interface Interval {
  median: number;
  low: number;
  high: number;
}

/** A median, with its interval where there were enough samples for one. */
export interface Estimate {
  median: number;
  low?: number;
  high?: number;
}

/** One rival's time over another's, by the turns that both took. */
export interface Ratio extends Estimate {
  /** How many turns those were. Results of before this was noted lack it. */
  pairs?: number;
  /** The other's median in those turns, in this rival's unit: not its `p50` where it took further turns. */
  otherP50?: number;
}

/** Samples of one measure, in one unit. */
export interface Spread {
  p50: number;
  p95: number;
  p99: number;
  max: number;
  samples: number;
}

/** `us` and `ms` are wall times; the others are what their names say. */
export type Unit = 'us' | 'ms' | 's' | 'bytes' | 'bytes/item' | 'share' | 'per second' | 'count';

/** One rival of a case. */
export interface RivalResult {
  /** The same in every case: `native-avx512`, `nested-map`, `ppv-exact`, … */
  name: string;
  /** Ours, somebody's idea, or the floor that nobody can go below. */
  kind: 'ours' | 'rival' | 'floor';
  /** A rival that fails its check is reported and never timed; one that cannot run here says why. */
  status: 'timed' | 'failed' | 'skipped';
  reason?: string;
  unit?: Unit;
  spread?: Spread;
  /** This rival's time over another's, turn by turn: above 1 means slower than it. By the other's name. */
  ratioTo?: Record<string, Ratio>;
  /** Of what it found; rivals with another hash than the case's are not compared. */
  resultHash?: string;
  /** Whether its results are meant to be others: approximate rivals, and those that serve fewer items. */
  isApproximate?: boolean;
  /** What else was measured: bytes, false positives, how full the shelf is. */
  extras?: Record<string, { value: number; unit: Unit }>;
}

/** One point of one axis. */
export interface CaseResult {
  suite: string;
  /** What is varied around the suite's usual point; `point` where nothing is. */
  axis: string;
  /** Where on the axis. */
  at: number | string;
  /** All parameters, the varied one among them. */
  parameters: Record<string, number | string>;
  rivals: RivalResult[];
  /** Why there are no results: what the case threw. */
  failed?: string;
  /** What was measured again and again, in the seconds since the case began. */
  series?: Series[];
  /** What it comes to, in words. */
  verdict?: string;
  /** Set where the case was interrupted: what was measured until then. */
  isPartial?: boolean;
}

export interface Series {
  name: string;
  unit: Unit;
  points: [seconds: number, value: number][];
}

/** A fixed piece of work before and after a run: where it took longer or varied, the machine was busy. */
export interface Noise {
  beforeUs: Spread;
  afterUs: Spread;
  isNoisy: boolean;
  /** In words, for the report. */
  why: string;
}

export interface Machine {
  cpu: string;
  cores: number;
  memoryBytes: number;
  /** Instruction sets that the native kernels can use here, the best last. */
  cpuFeatures: string[];
  node: string;
  os: string;
  versions: Record<string, string>;
}

/** What one suite's run leaves in `bench/results/<suite>.json`. */
export interface SuiteReport {
  format: 1;
  suite: string;
  machine: Machine;
  commit: string;
  startedAt: string;
  seconds: number;
  size: Size;
  seed: number;
  /** False after an interrupt: what had finished is there. */
  isComplete: boolean;
  noise: Noise;
  cases: CaseResult[];
  /** Cases that were not run, such as those that need more memory than there is. */
  skipped: { axis: string; at: number | string; reason: string }[];
}

/** How long a run may take: seconds for all suites together (CI), two minutes, or as long as it takes. */
export type Size = 'small' | 'quick' | 'full';

export interface RunOptions {
  size: Size;
  seed: number;
  /** Also 100 million constraints. */
  large: boolean;
  /** Only these axes; all where it is empty. */
  axes: readonly string[];
  /** How long a soak takes; none where it is not asked for. */
  minutes?: number | undefined;
}

/** One case to come. */
export interface PlannedCase {
  axis: string;
  at: number | string;
  /** At most, beside what the process has. */
  needsBytes: number;
  /** A guess, for the progress bar. */
  seconds: number;
  run(context: CaseContext): Promise<CaseResult>;
}

export interface CaseContext {
  options: RunOptions;
  /** Says what is being done, in a few words. */
  say(what: string): void;
  /** Aborted when the run is interrupted: the case ends soon, with an error. */
  signal: AbortSignal;
}

export interface Suite {
  name: string;
  /** One sentence, for `--help` and the report. */
  about: string;
  axes: readonly string[];
  plan(options: RunOptions): PlannedCase[];
  /** Frees what cases share. */
  close?(): Promise<void>;
}
