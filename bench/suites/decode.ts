import { chooseKernel } from '../../src/kernels/index.js';
import { best } from '../baselines/ours.js';
import { type Contender, runContest } from '../harness/contest.js';
import type { CaseContext, CaseResult, PlannedCase, RunOptions, Size, Suite } from '../harness/types.js';
import { measureShare } from './decode/constraint-share.js';
import { type CaseOptions, type Check, contendersOf, yardsticks } from './decode/contenders.js';
import type { DecodeRequest } from './decode/decoder.js';
import { referenceDecode } from './decode/reference.js';
import { type Restriction, Scene } from './decode/scene.js';

/** Where one thing at a time is varied from. */
const points: Record<Size, { model: string; beamWidth: number }> = {
  small: { model: 'retail-shared-context', beamWidth: 10 },
  quick: { model: 'retail-shared-context', beamWidth: 50 },
  full: { model: 'retail-shared-context', beamWidth: 50 },
};

const restrictions: Readonly<Record<string, Restriction>> = {
  none: { excludesHistory: false },
  germany: { rule: 'germany', excludesHistory: false },
  'under-2-pounds': { rule: 'under-2-pounds', excludesHistory: false },
  'new-arrivals': { rule: 'new-arrivals', excludesHistory: false },
  christmas: { rule: 'christmas', excludesHistory: false },
  history: { excludesHistory: true },
  'under-2-pounds and history': { rule: 'under-2-pounds', excludesHistory: true },
};

const values = {
  constraint: {
    small: ['none', 'under-2-pounds and history'],
    quick: ['none', 'under-2-pounds'],
    full: Object.keys(restrictions),
  },
  beams: { small: [4], quick: [100], full: [1, 10, 100, 200] },
  contract: {
    small: ['retail'],
    quick: ['retail'],
    full: ['retail', 'retail-logits'],
  },
} as const;

interface Effort {
  seconds: number;
  budgetMs: number;
  least: number;
  most: number;
  checked: number;
  shelves: number;
  shareDecodes: number;
  warmUp: number;
}

const efforts: Record<Size, Effort> = {
  small: { seconds: 0.4, budgetMs: 0, least: 2, most: 2, checked: 1, shelves: 1, shareDecodes: 2, warmUp: 0 },
  quick: {
    seconds: 1.2,
    budgetMs: 400,
    least: 4,
    most: 100,
    checked: 2,
    shelves: 5,
    shareDecodes: 20,
    warmUp: 2,
  },
  full: {
    seconds: 4,
    budgetMs: 2200,
    least: 10,
    most: 400,
    checked: 3,
    shelves: 30,
    shareDecodes: 80,
    warmUp: 5,
  },
};
/** The point itself, which says how much of a request the constraint is. */
const pointEfforts: Record<Size, Effort> = {
  ...efforts,
  quick: { ...efforts.quick, seconds: 2, shareDecodes: 60 },
  full: { ...efforts.full, seconds: 12, budgetMs: 6000, shareDecodes: 400 },
};

/** So many histories, in turns. */
const REQUESTS = 400;

let scene: Promise<Scene> | undefined;

/** Whole decodes of the bundled retail model. */
export const decode: Suite = {
  name: 'decode',
  about:
    'Whole decodes of the retail model, history to items: how much of them the constraint is, by every way.',
  axes: Object.keys(values),
  plan,
  async close() {
    await (await scene)?.close();
    scene = undefined;
  },
};

interface Place {
  axis: keyof typeof values;
  at: number | string;
  model: string;
  beamWidth: number;
  restriction: Restriction;
  isPoint: boolean;
}

function plan({ size }: RunOptions): PlannedCase[] {
  const { none } = restrictions;
  const point = points[size];
  const places: Place[] = [
    ...values.constraint[size].map((at) => ({
      axis: 'constraint' as const,
      at,
      ...point,
      restriction: restrictions[at],
      isPoint: at === 'none',
    })),
    ...values.beams[size].map((beamWidth) => ({
      axis: 'beams' as const,
      at: beamWidth,
      ...point,
      beamWidth,
      restriction: none,
      isPoint: false,
    })),
    ...values.contract[size].map((model) => ({
      axis: 'contract' as const,
      at: model,
      ...point,
      model,
      restriction: none,
      isPoint: false,
    })),
  ];
  return places.map((place) => ({
    axis: place.axis,
    at: place.at,
    needsBytes: 300e6,
    seconds: effortOf(place, size).seconds,
    run: (context) => run(place, context),
  }));
}

function effortOf({ isPoint }: Place, size: Size): Effort {
  return (isPoint ? pointEfforts : efforts)[size];
}

async function run(place: Place, context: CaseContext): Promise<CaseResult> {
  const { axis, at, beamWidth, restriction, isPoint } = place;
  const { options, say, signal } = context;
  const effort = effortOf(place, options.size);
  say('opening the model');
  scene ??= Scene.open();
  const opened = await scene;
  const model = await opened.model(place.model);
  const requests = opened.requests(model, REQUESTS, options.seed * REQUESTS);
  const common = {
    scene: opened,
    model,
    restriction,
    beamWidth,
    withEverybody: isPoint,
    requests,
    shelves: effort.shelves,
  };
  const checks = await checksOf(common, requests, effort.checked, context);
  const { contenders, roundMs } = clocked(await contendersOf({ ...common, checks }));
  const turns = () => Math.max(effort.least, Math.min(effort.most, Math.floor(effort.budgetMs / roundMs())));
  const rivals = await runContest(contenders, {
    unit: 'ms',
    warmUp: effort.warmUp,
    turns,
    yardsticks,
    signal,
    say,
  });
  say('measuring how much of it the constraint is');
  const kernel = chooseKernel(best().name.replace('native-', ''));
  const ours = rivals.find(({ name, status }) => name === best().name && status === 'timed');
  const share =
    ours &&
    (await measureShare({
      model,
      kernel,
      beamWidth,
      constraintOf: opened.constraintFor(restriction, kernel),
      requests,
      decodes: effort.shareDecodes,
      warmUp: effort.warmUp,
      signal,
    }));
  if (ours && share) ours.extras = { ...ours.extras, ...share };
  const parameters = {
    model: place.model,
    items: opened.catalog.leafItems.itemCount,
    leaves: opened.catalog.trie.leafCount,
    vocabulary: model.vocabSize,
    sidLength: model.levelTokens.length,
    beams: beamWidth,
    rule: restriction.rule ?? 'none',
    excludesHistory: restriction.excludesHistory ? 'yes' : 'no',
    threads: 1,
    seed: options.seed,
  };
  return { suite: 'decode', axis, at, parameters, rivals };
}

/** Of requests that can be told right from wrong: others may come out two ways. */
async function checksOf(
  { scene: opened, model, restriction, beamWidth }: Omit<CaseOptions, 'checks'>,
  requests: readonly DecodeRequest[],
  count: number,
  { say, signal }: CaseContext,
): Promise<Check[]> {
  say('decoding slowly, to know what is right');
  const checks: Check[] = [];
  for (const request of requests) {
    signal.throwIfAborted();
    const under = opened.allowed(restriction, model, request);
    const allowed = await referenceDecode(model, request, beamWidth, under);
    const free = await referenceDecode(model, request, beamWidth, null);
    if (allowed.isClear && free.isClear) checks.push({ request, allowed, free });
    if (checks.length === count) return checks;
  }
  throw new Error(`of ${requests.length} requests only ${checks.length} can be told right from wrong`);
}

/** Contenders that are timed once after their check, to know how many turns there is time for. */
function clocked(contenders: readonly Contender[]): { contenders: Contender[]; roundMs: () => number } {
  let roundMs = 0;
  const timed = contenders.map((contender) => ({
    ...contender,
    async verify() {
      const verdict = await contender.verify();
      const startMs = performance.now();
      if (verdict.fault === undefined) await contender.run(0);
      roundMs += performance.now() - startMs;
      return verdict;
    },
  }));
  return { contenders: timed, roundMs: () => roundMs };
}
