import type { RecommendQuery } from '../../decoder/index.js';
import { readRequestFile, toQuery } from '../../server/index.js';
import { seededRandom } from './random.js';
import type { Subject } from './subject.js';

/** More distinct histories tell no more; the catalog's memory is walked elsewhere with each. */
const DRAWN = 512;
const MAX_LINES = 10_000;
export const SEED = 1;

export interface QueryOptions {
  /** A file of requests; histories are drawn without it. */
  file: string | undefined;
  k: number | undefined;
  beamWidth: number | number[] | undefined;
}

export interface Queries {
  /** In a random order, so that neighbours of a file are not neighbours here. */
  list: RecommendQuery[];
  /** Where they come from, for people. */
  description: string;
  source: 'drawn' | 'file';
}

/**
 * The requests that are asked, with their constraints as they were sent.
 * @throws EspalierError ESP_REQUEST_INVALID, ESP_BEAM_WIDTH, with the line of a file
 */
export async function queriesFor(subject: Subject, { file, k, beamWidth }: QueryOptions): Promise<Queries> {
  const overrides = { ...(k !== undefined && { k }), ...(beamWidth !== undefined && { beamWidth }) };
  if (file === undefined) return drawQueries(subject, overrides);
  const { queries, hasMore } = await readRequestFile(file, {
    catalog: subject.name,
    limit: MAX_LINES,
    // A file has no name that a request could know.
    overrides: { ...overrides, ...(subject.kind !== 'catalog' && { catalog: subject.name }) },
  });
  return {
    list: shuffled(queries.map((query) => withSetNames(subject, query))),
    description: `${hasMore ? 'the first ' : ''}${queries.length} of ${file}`,
    source: 'file',
  };
}

/** Histories of one item up to as many as the model reads, each length as likely, of items as likely as each other. */
async function drawQueries(
  { name, manifest, snapshot }: Subject,
  overrides: { k?: number; beamWidth?: number | number[] },
): Promise<Queries> {
  const random = seededRandom(SEED);
  const { ids } = snapshot.version;
  const { maxItems } = manifest.context;
  const below = (bound: number) => Math.floor(random() * bound);
  const list: RecommendQuery[] = [];
  for (let number = 0; number < DRAWN; number++) {
    const history = Array.from({ length: 1 + below(maxItems) }, () => ids.at(below(ids.length)));
    list.push(await toQuery({ catalog: name, history, ...overrides }, `drawn ${number}`, 0));
  }
  const lengths = maxItems === 1 ? '1 item' : `1 to ${maxItems} items`;
  const description = `${DRAWN} histories of ${lengths} drawn from the catalog (seed ${SEED})`;
  return { list, description, source: 'drawn' };
}

/** Sets by their own names, whatever the request calls them. */
function withSetNames({ aliases }: Subject, query: RecommendQuery): RecommendQuery {
  const { set } = query.constraint;
  const target = set === undefined ? undefined : aliases.get(set);
  return target === undefined ? query : { ...query, constraint: { ...query.constraint, set: target } };
}

function shuffled<Value>(values: readonly Value[]): Value[] {
  const random = seededRandom(SEED);
  const list = [...values];
  for (let last = list.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [list[last], list[other]] = [list[other], list[last]];
  }
  return list;
}
