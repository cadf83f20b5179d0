import { availableParallelism } from 'node:os';
import { chooseKernel, type KernelChoice, usableLevels } from '../../../src/kernels/index.js';
import { type BuiltTrie, buildTrie, trieByteLength } from '../../../src/static-trie/index.js';
import { buildInJs, type NumberRows } from '../../baselines/js-build.js';
import type { Contender, Verdict } from '../../harness/contest.js';
import type { Unit } from '../../harness/types.js';
import { faultOfLists, faultOfTrie, fingerprint, hashOfOrder } from './check-build.js';
import type { Lexsort } from './lexsort.js';

/** A kernel's builder on so many threads. */
export interface OurBuilder {
  name: string;
  kernel: string;
  threads: number;
}

/** On every instruction set, the best first, and the best on two threads. */
export function nativeBuilders(): OurBuilder[] {
  const levels = usableLevels().map(({ name }) => name);
  const builders = levels
    .reverse()
    .map((kernel) => ({ name: `native-${kernel}`, kernel, threads: 1 }) as OurBuilder);
  const [best] = builders;
  if (best !== undefined && availableParallelism() > 1) {
    builders.splice(1, 0, { ...best, name: `${best.name}-2-threads`, threads: 2 });
  }
  return builders;
}

export const jsBuilder: OurBuilder = { name: 'js', kernel: 'js', threads: 1 };

/** All builders of the same rows: the first trie is checked against them, and each further one must be the same. */
export class BuildContest {
  readonly #rows: NumberRows;
  #right: { fingerprint: string; trie: BuiltTrie['trie']; order: string } | undefined;

  constructor(rows: NumberRows) {
    this.#rows = rows;
  }

  /** What is wrong with a build, and what it took. */
  judge(built: BuiltTrie): Verdict {
    const found = fingerprint(built);
    const { leafCount } = built.trie;
    const bytes = trieByteLength(built.trie);
    const extras = {
      'trie bytes': { value: bytes, unit: 'bytes' },
      'trie bytes an item': { value: bytes / this.#rows.rowCount, unit: 'bytes/item' },
      leaves: { value: leafCount, unit: 'count' },
    } satisfies Record<string, { value: number; unit: Unit }>;
    const hash = hashOfOrder(built.sortedRows);
    if (this.#right !== undefined) {
      const isSame = found === this.#right.fingerprint;
      return { hash, extras, ...(!isSame && { fault: 'its trie is another than the one that was checked' }) };
    }
    const fault = faultOfTrie(this.#rows, built);
    if (fault !== undefined) return { hash, extras, fault };
    this.#right = { fingerprint: found, trie: built.trie, order: hash };
    return { hash, extras };
  }

  /** @param more what else is measured, once the trie has been checked */
  ours(
    { name, kernel, threads }: OurBuilder,
    more?: () => Promise<NonNullable<Verdict['extras']>>,
  ): Contender {
    const choice: KernelChoice = chooseKernel(kernel);
    const build = () => buildTrie(this.#rows, { threads }, choice);
    return {
      name,
      kind: 'ours',
      verify: async () => {
        const verdict = this.judge(await build());
        return { ...verdict, extras: { ...verdict.extras, ...(await more?.()) } };
      },
      run: build,
    };
  }

  /** Rows sorted, and lists of children made of them, in JavaScript. */
  inJs(build = buildInJs): Contender {
    return {
      name: 'js-sort-and-build',
      kind: 'rival',
      verify: () => {
        const built = build(this.#rows);
        const { trie, order } = this.#known();
        const hash = hashOfOrder(built.order);
        const fault =
          hash === order ? faultOfLists(trie, built) : 'its rows are in another order than those of the trie';
        const extras = {
          'trie bytes': { value: built.bytes, unit: 'bytes' as const },
          'trie bytes an item': {
            value: built.bytes / this.#rows.rowCount,
            unit: 'bytes/item' as const,
          },
        };
        return { hash, extras, ...(fault !== undefined && { fault }) };
      },
      run: () => build(this.#rows),
    };
  }

  /** The sort alone, which is no index: without it nobody builds with numpy. @param lexsort or why there is none */
  byLexsort(lexsort: Lexsort | string): Contender {
    const name = 'numpy-lexsort';
    const nothing = { name, kind: 'rival', verify: () => ({}), run: () => {} } as const;
    if (typeof lexsort === 'string') return { ...nothing, skipped: lexsort };
    return {
      name,
      kind: 'rival',
      isApproximate: true,
      verify: async () => {
        await lexsort.load(this.#rows);
        await lexsort.sort();
        const hash = (await lexsort.hash()).slice(0, 16);
        const isRight = hash === this.#known().order;
        return { hash, ...(!isRight && { fault: 'its rows are in another order than those of the trie' }) };
      },
      run: () => lexsort.sort(),
    };
  }

  #known() {
    if (this.#right === undefined) {
      throw new Error('no trie of ours was right, so there is nothing to compare with');
    }
    return this.#right;
  }
}
