import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { staleFiles, writeReport } from '../bench/report/main.js';

/**
 * Writes the README's tables, docs/benchmarks.md, its charts and docs/benchmarks.html from what was measured:
 * `npx tsx scripts/readme-tables.ts`. With `--check` it only says whether they are up to date.
 */
const root = new URL('..', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, root), 'utf8');

interface Scores {
  'R@10': number;
  'NDCG@10': number;
}
interface Split {
  all: Scores;
  newInvoice: Scores;
}
interface Quality {
  mostPopular: Split;
  itemKnn: Split;
  itemKnnExtraData: Split;
  neighbouringLines: Split;
  model: Split;
}
interface Shelf {
  users: number;
  rules: Record<string, number | string>[];
}

const quality = JSON.parse(read('examples/online-retail/data/quality.json')) as Quality;
const shelf = JSON.parse(read('examples/online-retail/data/shelf.json')) as Shelf;

function table(header: string[], rows: (string | number)[][]): string {
  return [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

const tables = {
  shelf: table(
    Object.keys(shelf.rules[0]),
    shelf.rules.map((row) => Object.values(row)),
  ),
  quality: table(
    ['', 'R@10', 'NDCG@10', 'R@10 where the item opens a new invoice'],
    (
      [
        ['most popular', quality.mostPopular],
        ['item-kNN, tuned', quality.itemKnn],
        ['item-kNN, tuned, with the data that the model had', quality.itemKnnExtraData],
        ['counts of neighbouring lines (the model learned from them, too)', quality.neighbouringLines],
        ['the bundled model, constrained beam of 50', quality.model],
      ] as const
    ).map(([name, { all, newInvoice }]) => [
      name,
      all['R@10'].toFixed(4),
      all['NDCG@10'].toFixed(4),
      newInvoice['R@10'].toFixed(4),
    ]),
  ),
};

const benchmarks = [fileURLToPath(new URL('bench/results', root)), fileURLToPath(root)] as const;
const before = read('README.md');
let after = before;
for (const [name, text] of Object.entries(tables)) {
  after = after.replace(
    new RegExp(`<!-- ${name} table -->[\\s\\S]*?<!-- end -->`),
    `<!-- ${name} table -->\n${text}\n<!-- end -->`,
  );
}
if (process.argv.includes('--check')) {
  if (after !== before)
    throw new Error('the tables of README.md are out of date: npx tsx scripts/readme-tables.ts');
  const stale = staleFiles(...benchmarks);
  if (stale.length > 0) throw new Error(`out of date: ${stale.join(', ')}: npm run bench -- report`);
} else {
  writeFileSync(new URL('README.md', root), after);
  writeReport(...benchmarks);
}
