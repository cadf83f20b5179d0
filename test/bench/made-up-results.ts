import type { CaseResult, RivalResult, Spread, SuiteReport, Unit } from '../../bench/harness/types.js';
import { seededRandom } from '../../src/cli/bench/random.js';

/*
 * Results that nobody has measured: made up for the tests of the reports, in the shapes that the suites write. They
 * must never lie in bench/results.
 */

const OURS = 'native-avx2';
const KERNELS = [OURS, 'native-scalar', 'js'];

/** Microseconds over a log-sum-exp of 30, for the paper's point. */
const beyondFloor: Record<string, number> = {
  'native-avx2': 7,
  'native-scalar': 400,
  js: 1400,
  'static-csr': 21,
  'array-trie': 24,
  'array-trie-js': 70,
  'nested-map': 150,
  'nested-map-all-js': 9500,
  'ppv-exact': 300,
  'ppv-approximate': 420,
  'hash-bitmap': 280,
  'dense-mask': 22,
  'post-filter': 55,
};
const APPROXIMATE = ['ppv-approximate', 'hash-bitmap', 'post-filter'];
const FLOOR_US = 30;

function spread(p50: number, random: () => number): Spread {
  const width = 1.05 + random() * 0.1;
  return { p50, p95: p50 * width, p99: p50 * width * 1.1, max: p50 * width * 1.3, samples: 100 };
}

type Extras = NonNullable<RivalResult['extras']>;

export class MadeUp {
  readonly #random: () => number;

  constructor(seed = 1) {
    this.#random = seededRandom(seed);
  }

  timed(name: string, p50: number, unit: Unit, more: Partial<RivalResult> = {}): RivalResult {
    const kind =
      name.startsWith('log-sum') || name === 'unconstrained'
        ? 'floor'
        : KERNELS.some((one) => name.startsWith(one))
          ? 'ours'
          : 'rival';
    const { extras, ...rest } = more;
    return {
      name,
      kind,
      status: 'timed',
      unit,
      spread: spread(p50, this.#random),
      resultHash: APPROXIMATE.includes(name) ? `h-${name}` : 'h',
      ...(APPROXIMATE.includes(name) && { isApproximate: true }),
      ...rest,
      ...(extras && { extras }),
    };
  }

  /** Each beside one of them. */
  compared(rivals: RivalResult[], ...yardsticks: string[]): RivalResult[] {
    for (const rival of rivals) {
      for (const name of yardsticks) {
        const other = rivals.find((one) => one.name === name);
        if (rival.name === name || !other?.spread || !rival.spread) continue;
        const median = rival.spread.p50 / other.spread.p50;
        rival.ratioTo = { ...rival.ratioTo, [name]: { median, low: median * 0.98, high: median * 1.02 } };
      }
    }
    return rivals;
  }

  #step(axis: string, at: number | string, change: Record<string, number | string>): CaseResult {
    const parameters = {
      shape: 'uniform',
      constraints: 2e7,
      vocabulary: 2048,
      sidLength: 8,
      batch: 2,
      beams: 70,
      seed: 1,
      ...change,
    };
    const { constraints, vocabulary, batch, beams } = parameters;
    const work = ((Number(batch) * Number(beams)) / 140) * (Number(vocabulary) / 2048);
    const growth = (Number(constraints) / 2e7) ** 0.05;
    const rivals = Object.entries(beyondFloor).map(([name, us]) => {
      const bytes = Number(constraints) * (KERNELS.includes(name) ? 18.3 : 70);
      const constraint = us * work * growth;
      const extras: Extras = {
        bytes: { value: bytes, unit: 'bytes' },
        constraint: { value: constraint, unit: 'us' },
        'level 0': { value: 5, unit: 'us' },
      };
      return this.timed(name, FLOOR_US * work + constraint, 'us', { extras });
    });
    rivals.unshift(this.timed('log-sum-exp', FLOOR_US * work, 'us'));
    rivals.push(this.timed(`${OURS}-2-threads`, (FLOOR_US + 7) * work * 0.53, 'us'));
    rivals.push({ name: 'cuda', kind: 'ours', status: 'skipped', reason: 'there is no GPU' });
    const all = this.compared(rivals, OURS, 'log-sum-exp');
    return { suite: 'step', axis, at, parameters, rivals: all };
  }

  step(): SuiteReport {
    const numbers = {
      constraints: [1e5, 1e6, 1e7, 2e7],
      vocabulary: [256, 1024, 2048, 8192, 65_536],
      branching: [2, 16, 256, 2048, 32_768, 262_144],
      beams: [10, 70, 256, 1000],
      batch: [1, 2, 8, 32, 64],
      'sid-length': [2, 4, 8, 16],
    };
    const parameterOf: Record<string, string> = { branching: 'vocabulary', 'sid-length': 'sidLength' };
    const cases = [
      this.#step('point', '20M', {}),
      this.#step('point', 'B=32 M=50', { batch: 32, beams: 50 }),
      this.#step('point', '1M', { constraints: 1e6 }),
      ...Object.entries(numbers).flatMap(([axis, values]) =>
        values.map((at) => {
          const fixed = axis === 'branching' ? { constraints: 1e6 } : {};
          return this.#step(axis, at, { ...fixed, [parameterOf[axis] ?? axis]: at });
        }),
      ),
      ...['uniform', 'skewed', 'real-shaped'].map((shape) => this.#step('shape', shape, { shape })),
      ...[1, 0.1, 0.01, 0.001, 0.0001].map((at) => {
        const one = this.#step('selectivity', at, { selectivity: at });
        const extras: Extras = { bytes: { value: 3e6, unit: 'bytes' } };
        const own = this.timed(`${OURS}-overlay`, 38.5, 'us', { extras });
        one.rivals = this.compared([...one.rivals, own], OURS);
        return one;
      }),
      ...[0, 10, 500, 10_000].map((at) =>
        this.#beside('exclusions', at, `${OURS}-exclusions`, 38, OURS, 37, { exclusions: at }),
      ),
      ...[1, 8, 32].map((at) =>
        this.#beside('sets', at, `${OURS}-overlay`, 1250, `${OURS}-overlay-one-set`, 1200, {
          sets: at,
          batch: 64,
        }),
      ),
      ...[0, 1, 2].map((at) =>
        this.#beside('neighbours', at, `${OURS}-2-threads`, 24 + 20 * at, OURS, 38, { neighbours: at }),
      ),
    ];
    cases
      .find(({ axis, at }) => axis === 'vocabulary' && at === 65_536)!
      .rivals.push({
        name: 'trie-of-nobody',
        kind: 'rival',
        status: 'failed',
        reason: 'row 3: found token 7, expected 9',
      });
    return this.report('step', cases, [
      { axis: 'constraints', at: 1e8, reason: 'it needs 12.0 GB of memory, and there are 3.0 GB' },
    ]);
  }

  #beside(
    axis: string,
    at: number,
    name: string,
    us: number,
    other: string,
    otherUs: number,
    more: Record<string, number>,
  ): CaseResult {
    const rivals = [
      this.timed('log-sum-exp', 30, 'us'),
      this.timed(name, us, 'us'),
      this.timed(other, otherUs, 'us'),
    ];
    const parameters = { constraints: 2e7, vocabulary: 2048, batch: 2, beams: 70, ...more };
    return { suite: 'step', axis, at, parameters, rivals: this.compared(rivals, other) };
  }

  sets(): SuiteReport {
    const parameters = { shape: 'skewed', items: 2e7, vocabulary: 2048, sidLength: 8, seed: 1 };
    const of = (axis: string, at: number | string, rivals: RivalResult[]): CaseResult => {
      return { suite: 'sets', axis, at, parameters, rivals: this.compared(rivals, rivals[0].name) };
    };
    const extras: Extras = { bytes: { value: 3.02e6, unit: 'bytes' } };
    return this.report('sets', [
      ...[1, 0.1, 0.001].map((at) =>
        of('selectivity', at, [
          this.timed(`${OURS}-overlay`, 2100, 'us', { extras }),
          this.timed('js-overlay', 20_000, 'us', { extras }),
          this.timed('dedicated-trie', 600_000 * at, 'us', { kind: 'ours', isApproximate: true }),
          this.timed('static-csr', 4e6 * at + 9000, 'us', { isApproximate: true }),
        ]),
      ),
      ...['and', 'or'].map((at) =>
        of('algebra', at, [this.timed(OURS, 2000, 'us'), this.timed('js', 30_000, 'us')]),
      ),
      ...[10, 500].map((at) =>
        of('exclusions', at, [this.timed(OURS, 0.01 * at, 'us'), this.timed('js', at, 'us')]),
      ),
      of('shape', 'uniform', [this.timed(`${OURS}-overlay`, 2000, 'us', { extras })]),
      of('shape', 'real-shaped', [this.timed(`${OURS}-overlay`, 5000, 'us', { extras })]),
      {
        ...of('call', 'three arrays', [this.timed('native-call', 120, 'us')]),
        parameters: { ...parameters, calls: 1000 },
      },
    ]);
  }

  build(): SuiteReport {
    const cases = [1e6, 2e7].map((items): CaseResult => {
      const extras: Extras = {
        'trie bytes an item': { value: 18.3, unit: 'bytes/item' },
        'peak memory': { value: items * 40, unit: 'bytes' },
      };
      const rivals = [
        this.timed(OURS, items * 3e-5, 'ms', { extras }),
        this.timed(`${OURS}-2-threads`, items * 1.65e-5, 'ms', { extras }),
        this.timed('numpy-lexsort', items * 3e-4, 'ms'),
      ];
      const parameters = { shape: 'uniform', items, vocabulary: 2048, sidLength: 8, seed: 1 };
      return {
        suite: 'build',
        axis: 'constraints',
        at: items,
        parameters,
        rivals: this.compared(rivals, OURS),
      };
    });
    return this.report('build', cases);
  }

  rules(): SuiteReport {
    const cases = [1, 4, 8].map((at): CaseResult => {
      const rivals = [this.timed(OURS, at * 2.5, 'ms'), this.timed('js-item-loop', at * 80, 'ms')];
      const parameters = { items: 2e7, predicates: at };
      return { suite: 'rules', axis: 'predicates', at, parameters, rivals: this.compared(rivals, OURS) };
    });
    return this.report('rules', cases);
  }

  decode(): SuiteReport {
    const cases = ['none', 'under-2-pounds'].map((at, index): CaseResult => {
      const share = 0.002 + index * 0.001;
      const extras: Extras = {
        'constraint share': { value: share, unit: 'share' },
        'constraint share, low': { value: share * 0.9, unit: 'share' },
        'constraint share, high': { value: share * 1.1, unit: 'share' },
      };
      const rivals = [this.timed(OURS, 9.7, 'ms', { extras }), this.timed('nested-map', 10, 'ms')];
      return { suite: 'decode', axis: 'constraint', at, parameters: {}, rivals: this.compared(rivals, OURS) };
    });
    return this.report('decode', cases);
  }

  serve(): SuiteReport {
    const extras: Extras = {
      'overhead in the server': { value: 0.6, unit: 'ms' },
      'overhead as the client sees it': { value: 1.4, unit: 'ms' },
      'constraint share': { value: 0.013, unit: 'share' },
    };
    const rivals = ['http', 'grpc'].map((name) => this.timed(name, 11, 'ms', { kind: 'ours', extras }));
    const one = { suite: 'serve', axis: 'constraint', at: 'none', parameters: {} };
    return this.report('serve', [{ ...one, rivals: this.compared(rivals, 'http') }]);
  }

  soak(): SuiteReport {
    const points = (value: (turn: number) => number) =>
      Array.from({ length: 60 }, (_, turn): [number, number] => [turn * 10, value(turn)]);
    const rival = this.timed('http', 12, 'ms', {
      kind: 'ours',
      extras: { 'rule violations': { value: 0, unit: 'count' }, errors: { value: 2, unit: 'count' } },
    });
    const one: CaseResult = {
      suite: 'soak',
      axis: 'minutes',
      at: 10,
      parameters: {},
      rivals: [rival],
      series: [
        {
          name: 'resident memory',
          unit: 'bytes',
          points: points((turn) => 3e8 + 1e7 * this.#random() + turn),
        },
        { name: 'open files', unit: 'count', points: points(() => 40) },
        { name: 'event-loop delay, p99', unit: 'ms', points: points(() => 5 + this.#random()) },
        { name: 'errors', unit: 'count', points: points((turn) => (turn > 30 ? 2 : 0)) },
      ],
      verdict: 'Memory is flat: 0.1 MB an hour (-0.3 to 0.5).',
    };
    return this.report('soak', [one]);
  }

  report(suite: string, cases: CaseResult[], skipped: SuiteReport['skipped'] = []): SuiteReport {
    const calm: Spread = { p50: 900, p95: 950, p99: 1000, max: 1100, samples: 300 };
    return {
      format: 1,
      suite,
      machine: {
        cpu: 'Made-up CPU',
        cores: 2,
        memoryBytes: 16e9,
        cpuFeatures: ['scalar', 'avx2'],
        node: 'v20.20.2',
        os: 'Linux x64',
        versions: { kernel: 'avx2' },
      },
      commit: '0123456789abcdef0123456789abcdef01234567',
      startedAt: '2026-01-02T03:04:05.000Z',
      seconds: 60,
      size: 'full',
      seed: 1,
      isComplete: true,
      noise: {
        beforeUs: calm,
        afterUs: calm,
        isNoisy: false,
        why: 'The machine was quiet: 900 µs before and after.',
      },
      cases,
      skipped,
    };
  }

  all(): SuiteReport[] {
    return [this.step(), this.sets(), this.build(), this.rules(), this.decode(), this.serve(), this.soak()];
  }
}

/** What other commands leave, as far as goals are read from it. */
export const madeUpOthers: Record<string, unknown> = {
  model: {
    results: [
      {
        what: 'decode at beam 50: retail',
        decodeMs: 20,
        decodeRatio: { median: 2.1 },
        stepsRatio: { median: 2.6, low: 2.5, high: 2.7 },
      },
    ],
  },
  changes: { 'recommend p99 while building / idle, all rounds together': 1.24 },
  cuda: {
    marks: [{ what: 'tail levels', unit: 'µs', goal: 8, isLessBetter: true, measured: 7.5, isMet: true }],
  },
};
