import { statSync } from 'node:fs';
import {
  type BuiltTrie,
  buildTrie,
  inFile,
  MAX_CODEBOOK_SIZE,
  readSidRows,
  trieStats,
  writeTrieFile,
} from '../static-trie/index.js';
import { Options } from './options.js';
import { withProgressBar } from './progress-bar.js';
import { alignRows, count, counts, printReport } from './report.js';

export const buildHelp = `Usage: espalier index build --sids FILE --codebook-sizes LIST --out FILE [--threads N] [--json]

Builds a static trie from semantic IDs. Rows may come in any order and repeat.

  --sids            .npy or .npz with one array [rows, levels] of uint8, uint16, uint32, int32 or int64; of several
                    arrays in an .npz, the one called sids or arr_0. [ESPALIER_SIDS]
  --codebook-sizes  The number of codes of each level, e.g. 256,256,256. [ESPALIER_CODEBOOK_SIZES]
  --out             The file to write; an older one is replaced once the new one is complete. [ESPALIER_OUT]
  --threads         How many threads may build. (default: chosen by the builder) [ESPALIER_THREADS]
  --json            Print one JSON object.`;

export const MAX_THREADS = 1024;

/** `espalier index build`. */
export async function indexBuild(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: buildHelp,
    values: ['sids', 'codebook-sizes', 'out', 'threads'],
    switches: ['json'],
    positionals: [],
  });
  const sids = options.required('sids');
  const codebookSizes = options.integers('codebook-sizes', 1, MAX_CODEBOOK_SIZE);
  if (codebookSizes === undefined) throw options.wrong('--codebook-sizes: expected a value, found nothing');
  const out = options.required('out');
  const threads = options.optionalInteger('threads', 1, MAX_THREADS);
  const report = await withProgressBar(async (onProgress) => {
    onProgress('reading', 0);
    const rows = readSidRows(sids, codebookSizes);
    const built = await buildTrie(rows, { threads, onProgress }).catch((thrown: unknown) => {
      throw inFile(sids, thrown);
    });
    onProgress('writing', 0);
    writeTrieFile(out, built.trie);
    return reportOf(built, out);
  });
  printReport(options.isOn('json'), report, textOf(report));
  return 0;
}

interface BuildReport {
  rows: number;
  leaves: number;
  collisions: Collisions;
  nodesPerLevel: number[];
  bytes: number;
  out: string;
}

/** SIDs that several rows share. */
interface Collisions {
  leaves: number;
  rows: number;
  /** The SID that most rows share, the first of them; null without a collision. */
  largest: { sid: number[]; rows: number } | null;
}

function reportOf({ trie, sortedRows, leafItems }: BuiltTrie, out: string): BuildReport {
  const { sharedLeaves, sharedStart } = leafItems;
  let largest = -1;
  let mostRows = 0;
  for (let index = 0; index < sharedLeaves.length; index++) {
    const rows = sharedStart[index + 1] - sharedStart[index];
    if (rows > mostRows) [largest, mostRows] = [index, rows];
  }
  const start = sharedLeaves[largest] * trie.levelCount;
  return {
    rows: sortedRows.length,
    leaves: trie.leafCount,
    collisions: {
      leaves: sharedLeaves.length,
      rows: sharedStart[sharedLeaves.length],
      largest:
        largest < 0
          ? null
          : { sid: Array.from(trie.rows.subarray(start, start + trie.levelCount)), rows: mostRows },
    },
    nodesPerLevel: trieStats(trie).nodesPerLevel,
    bytes: statSync(out).size,
    out,
  };
}

function textOf({ rows, leaves, collisions, nodesPerLevel, bytes, out }: BuildReport): string {
  const { largest } = collisions;
  const collisionText =
    largest === null
      ? 'none'
      : `${count(collisions.rows)} rows share ${count(collisions.leaves)} SIDs, at most ${count(largest.rows)} one: ${largest.sid.join('-')}`;
  return alignRows([
    ['rows', count(rows)],
    ['leaves', count(leaves)],
    ['collisions', collisionText],
    ['nodes per level', counts(nodesPerLevel)],
    ['bytes', `${count(bytes)} (${(bytes / leaves).toFixed(1)} a leaf)`],
    ['written', out],
  ]);
}
