import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readResults } from './input.js';
import { allCharts, benchmarksPage } from './markdown.js';
import { htmlPage } from './page.js';
import { writeSvg } from './svg/drawing.js';
import { readmeTable } from './tables.js';

export { compareReports } from './compare.js';
export { interruptedBeside } from './input.js';

const CHARTS = 'docs/benchmarks';
const PLACE = /<!-- benchmark table -->[\s\S]*?<!-- end -->/;

/**
 * All that follows from the results: by path below `root`, what the file must hold; undefined for charts that are
 * there and follow from nothing any more.
 * @throws Error where there is no result, one cannot be read, or the README has no place for its table
 */
export function reportFiles(resultsDir: string, root: string): Map<string, string | undefined> {
  const results = readResults(resultsDir);
  const charts = allCharts(results);
  const files = new Map<string, string | undefined>();
  const folder = join(root, CHARTS);
  for (const name of existsSync(folder) ? readdirSync(folder) : []) {
    if (name.endsWith('.svg')) files.set(`${CHARTS}/${name}`, undefined);
  }
  for (const { name, drawing } of [...charts.values()].flat()) {
    files.set(`${CHARTS}/${name}.svg`, `${writeSvg(drawing)}\n`);
  }
  files.set('docs/benchmarks.md', benchmarksPage(results, charts));
  files.set('docs/benchmarks.html', htmlPage(results, charts));
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  if (!PLACE.test(readme)) throw new Error('README.md has no place for the benchmark table');
  const table = `<!-- benchmark table -->\n${readmeTable(results)}\n<!-- end -->`;
  files.set(
    'README.md',
    readme.replace(PLACE, () => table),
  );
  return files;
}

/**
 * Writes the page, its charts, the HTML page and the README's table from the results.
 * @param resultsDir such as `bench/results`
 * @param root of the project
 * @returns the files that were written, by path below `root`
 */
export function writeReport(resultsDir: string, root: string): string[] {
  const written: string[] = [];
  for (const [path, text] of reportFiles(resultsDir, root)) {
    const whole = join(root, path);
    if (text === undefined) {
      rmSync(whole);
      continue;
    }
    mkdirSync(dirname(whole), { recursive: true });
    writeFileSync(whole, text);
    written.push(path);
  }
  return written;
}

/** The files that are not as the results would have them, by path below `root`. */
export function staleFiles(resultsDir: string, root: string): string[] {
  return [...reportFiles(resultsDir, root)].flatMap(([path, text]) => {
    const whole = join(root, path);
    const found = existsSync(whole) ? readFileSync(whole, 'utf8') : undefined;
    return found === text ? [] : [path];
  });
}
