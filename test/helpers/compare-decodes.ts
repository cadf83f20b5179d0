import { DecodeEngine, type EngineEvent } from '../../src/decoder/engine.js';
import type { RecommendAnswer, RecommendQuery } from '../../src/decoder/index.js';
import type { Kernel } from '../../src/kernels/index.js';
import { query } from './query.js';
import { modelFolder, readGoldenBeams } from './retail.js';
import { usedParams } from './used-params.js';

/** What the logSumExps of a decode may come to, and the model's own last digits. */
const TOLERANCE = 2e-5;

/** An engine that serves the retail demo with a kernel. @param path of its catalog */
export async function retailEngine(
  kernel: Kernel,
  path: string,
  tell: (event: EngineEvent) => void = () => {},
): Promise<DecodeEngine> {
  const engine = new DecodeEngine({ threads: 1, stepThreads: 1, prefillCacheBytes: 1 << 24 }, tell, kernel);
  const activation = {
    catalog: 'retail',
    version: 1,
    path,
    model: { name: 'retail', version: 1, folder: modelFolder('retail') },
    sets: [],
    changes: null,
  };
  await engine.openCatalog(activation);
  await engine.prepareCatalog(activation);
  engine.commitCatalog('retail');
  return engine;
}

/** The requests of the golden decodes: histories, rules, exclusions. */
export function goldenQueries(): RecommendQuery[] {
  const { cases, params, k, beamWidth } = readGoldenBeams();
  return cases.map(({ history, excludeHistory, allowed }) => {
    const constraint =
      allowed === null ? {} : { filter: allowed.rule, params: usedParams(allowed.rule, params) };
    return query({ history, excludeHistory, constraint, k, beamWidth });
  });
}

/** Where two answers to one request differ by more than their last digits; null where they are the same. */
export function answerDifference(found: RecommendAnswer, expected: RecommendAnswer): string | null {
  if (found.items.length !== expected.items.length) {
    return `expected ${expected.items.length} items, found ${found.items.length}`;
  }
  for (const [rank, { id, score }] of expected.items.entries()) {
    const other = found.items[rank];
    if (!(Math.abs(other.score - score) <= TOLERANCE)) {
      return `place ${rank}: expected score ${score}, found ${other.score}`;
    }
    const close = expected.items.filter((item) => Math.abs(item.score - score) <= 2 * TOLERANCE);
    if (!close.some((item) => item.id === other.id))
      return `place ${rank}: expected ${id}, found ${other.id}`;
  }
  return null;
}
