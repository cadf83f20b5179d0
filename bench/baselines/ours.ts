import {
  type Constraint,
  chooseKernel,
  type Kernel,
  StepBatch,
  type TrieArrays,
  usableLevels,
} from '../../src/kernels/index.js';
import { trieByteLength } from '../../src/static-trie/index.js';
import { type Idea, leavesBelow, type Rival, type Seats, type Structure } from './rival.js';

/*
 * Ours, through the same door as the others: the js kernel, and the native one on every instruction set that this
 * machine has, each over a trie of its own for every table (dedicated), or over one catalog's trie with a set for
 * each request (overlay).
 */

/** A kernel as an idea. */
export function ourIdea(name: string, kernel: () => Kernel): Idea<Structure> {
  return {
    name,
    kind: 'ours',
    agreement: 'exact',
    demand: () => ({ bytes: 0 }),
    build: (sids) => ({ bytes: trieByteLength(sids) }),
    start: (_structures, sids, seats) =>
      ourRival(
        kernel(),
        seats.tableOf.map((table) => ({ trie: sids[table], live: null, dead: null })),
        seats,
      ),
  };
}

/** A kernel over what each request may reach. */
export function ourRival(
  kernel: Pick<Kernel, 'step'>,
  constraints: readonly Constraint[],
  { beamWidth }: Pick<Seats, 'beamWidth'>,
): Rival {
  const batch = new StepBatch(constraints.length, constraints.length * beamWidth);
  batch.begin(
    constraints.map((constraint) => ({ constraint, beamWidth, normalize: 'vocabulary', temperature: 1 })),
  );
  const tries: TrieArrays[] = constraints.map(({ trie }) => trie);
  return {
    batch,
    numbering: 'leaf ranges',
    locate: (request, prefix) => leavesBelow(tries[request], prefix),
    step: (input) => kernel.step(batch, input),
  };
}

export const js = ourIdea('js', () => chooseKernel('js'));

/** One for each instruction set, the best last. */
export function nativeLevels(): Idea[] {
  return usableLevels().map(({ name }) => ourIdea(`native-${name}`, () => chooseKernel(name)));
}

/** The best there is on this machine's CPU. */
export function best(threads = 1): { name: string; kernel: () => Kernel } {
  const level = usableLevels().at(-1);
  if (level === undefined) return { name: 'js', kernel: () => chooseKernel('js') };
  const name = threads === 1 ? `native-${level.name}` : `native-${level.name}-${threads}-threads`;
  return { name, kernel: () => chooseKernel(level.name, threads) };
}
