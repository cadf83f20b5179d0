import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { EspalierClient } from 'espalier/client';
import { CATALOG, loadRetail, type RetailItem, readItems, readShoppers, rules } from './retail.js';
import { startServerProcess } from './server-process.js';

/**
 * Why constrain the beam? For each bundled rule: how full a shelf of 10 is when the beam is constrained, how
 * full when the same beam runs free and its answer is filtered afterwards, and how many answers break the rule.
 * Real shoppers, through the running server. The rules are checked by hand-written predicates, not by CEL.
 */
const { values } = parseArgs({
  options: { users: { type: 'string', default: '500' }, out: { type: 'string' } },
});
const SHELF = 10;
const BEAM_WIDTH = 50;
const asOfMs = Date.parse('2011-12-10T00:00:00Z');
const hours = (count: number) => count * 3_600_000;

const predicates: Record<string, (item: RetailItem) => boolean> = {
  germany: ({ countries }) => countries.includes('Germany'),
  'under-2-pounds': ({ price }) => price < 2,
  'new-arrivals': ({ firstSold }) => Date.parse(firstSold) > asOfMs - hours(2160),
  christmas: ({ title }) => title.includes('CHRISTMAS'),
  'in-stock': ({ lastSold }) => Date.parse(lastSold) > asOfMs - hours(336),
};

const items = new Map((await readItems()).map((item) => [item.id, item]));
const shoppers = spread(await readShoppers(), Number(values.users));
const server = await startServerProcess(mkdtempSync(join(tmpdir(), 'espalier-rules-')), 0, [
  '--log-level',
  'warn',
]);
const client = new EspalierClient({ url: server.url });
try {
  await loadRetail(server.url);
  const rows = [];
  for (const name of Object.keys(rules)) rows.push(await measure(name));
  console.table(Object.fromEntries(rows.map(({ rule, ...row }) => [rule, row])));
  console.log(
    `${shoppers.length} shoppers, shelf of ${SHELF}, beam width ${BEAM_WIDTH}, items already bought excluded`,
  );
  if (values.out !== undefined) {
    const report = { users: shoppers.length, shelf: SHELF, beamWidth: BEAM_WIDTH, rules: rows };
    writeFileSync(values.out, `${JSON.stringify(report, null, 2)}\n`);
  }
  const violations = rows.reduce((sum, row) => sum + row.violations, 0);
  if (violations > 0) throw new Error(`${violations} answers break their rule`);
} finally {
  await server.stop();
}

async function measure(rule: string) {
  const isAllowed = predicates[rule];
  let constrainedFilled = 0;
  let filteredFilled = 0;
  let filteredEmpty = 0;
  let violations = 0;
  for (const { historyWithRepeats: history } of shoppers) {
    const request = { catalog: CATALOG, history, beamWidth: BEAM_WIDTH, excludeHistory: true };
    const constrained = await client.recommend({ ...request, k: SHELF, constraint: { set: rule } });
    const free = await client.recommend({ ...request, k: BEAM_WIDTH });
    constrainedFilled += constrained.items.length;
    violations += constrained.items.filter(
      ({ id }) => !isAllowed(items.get(id)!) || history.includes(id),
    ).length;
    const kept = Math.min(SHELF, free.items.filter(({ id }) => isAllowed(items.get(id)!)).length);
    filteredFilled += kept;
    if (kept === 0) filteredEmpty++;
  }
  const count = shoppers.length;
  return {
    rule,
    'items allowed': [...items.values()].filter(isAllowed).length,
    'filled, constrained': round(constrainedFilled / count),
    'filled, filtered after': round(filteredFilled / count),
    'empty shelves, filtered after': filteredEmpty,
    violations,
  };
}

/** `count` elements, evenly spread over the list. */
function spread<Type>(list: readonly Type[], count: number): Type[] {
  const size = Math.min(count, list.length);
  return Array.from({ length: size }, (_, index) => list[Math.floor((index * list.length) / size)]);
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
