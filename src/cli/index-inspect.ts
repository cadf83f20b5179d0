import { type IndexFile, openIndexFile, type TrieStats, trieStats } from '../static-trie/index.js';
import { Options } from './options.js';
import { alignRows, alignTable, count, printReport } from './report.js';

export const inspectHelp = `Usage: espalier index inspect FILE [--json]

Shows what is in a static trie or a catalog version: leaves, levels, fan-out, and the bytes of each section.

  --json  Print one JSON object.`;

/** `espalier index inspect`. */
export async function indexInspect(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: inspectHelp,
    values: [],
    switches: ['json'],
    positionals: ['FILE'],
  });
  const file = openIndexFile(options.positionals[0]);
  const stats = trieStats(file.trie);
  printReport(options.isOn('json'), reportOf(file, stats), textOf(file, stats));
  return 0;
}

function reportOf(file: IndexFile, stats: TrieStats) {
  const { kind, formatVersion, byteLength, itemCount, attributes, sections } = file;
  return {
    kind,
    formatVersion,
    leaves: stats.leafCount,
    levels: stats.codebookSizes.length,
    codebookSizes: stats.codebookSizes,
    nodesPerLevel: stats.nodesPerLevel,
    fanOutPerLevel: stats.fanOutPerLevel,
    ...(itemCount !== undefined && { items: itemCount }),
    ...(attributes !== undefined && { attributes }),
    sections: sections.map(({ name, byteLength: bytes }) => ({ name, bytes })),
    bytes: byteLength,
    bytesPerLeaf: byteLength / stats.leafCount,
  };
}

function textOf(
  file: IndexFile,
  { leafCount, codebookSizes, nodesPerLevel, fanOutPerLevel }: TrieStats,
): string {
  const rows: [string, string][] = [
    ['kind', file.kind],
    ['format version', String(file.formatVersion)],
    ['leaves', count(leafCount)],
  ];
  if (file.itemCount !== undefined) rows.push(['items', count(file.itemCount)]);
  if (file.attributes !== undefined) {
    const attributes = Object.entries(file.attributes).map(([name, { type }]) => `${name} (${type})`);
    rows.push(['attributes', attributes.join(', ') || 'none']);
  }
  rows.push(['bytes', `${count(file.byteLength)} (${(file.byteLength / leafCount).toFixed(1)} a leaf)`]);
  const levels = fanOutPerLevel.map(({ mean, p99, max }, level) => [
    String(level),
    count(codebookSizes[level]),
    count(nodesPerLevel[level]),
    mean.toFixed(2),
    count(p99),
    count(max),
  ]);
  const sections = file.sections.map(({ name, byteLength }) => [
    name,
    count(byteLength),
    (byteLength / leafCount).toFixed(2),
  ]);
  return [
    alignRows(rows),
    alignTable([['level', 'codebook', 'nodes', 'mean fan-out', 'p99', 'max'], ...levels]),
    alignTable([['section', 'bytes', 'a leaf'], ...sections]),
  ].join('\n\n');
}
