import {
  exportStatic,
  importStatic,
  MAX_CODEBOOK_SIZE,
  openIndexFile,
  readStaticFolder,
  trieStats,
  writeStaticFolder,
  writeTrieFile,
} from '../static-trie/index.js';
import { Options } from './options.js';
import { withProgressBar } from './progress-bar.js';
import { alignRows, count, counts, printReport } from './report.js';

const FORMATS = ['static'] as const;
const MAX_VOCAB_SIZE = 2 ** 31 - 1;

export const exportHelp = `Usage: espalier index export FILE --format static --vocab-size V --dense-lookup-layers 1|2 --out DIR [--json]

Writes the trie of a static trie or a catalog version as the arrays that the reference implementation of STATIC
builds: packed_csr.npy, indptr.npy, layer_max_branches.npy, start_mask.npy, dense_mask.npy and dense_states.npy.

  --format               static. [ESPALIER_FORMAT]
  --vocab-size           The model's tokens; a code is a token there, so no codebook may be larger.
                         [ESPALIER_VOCAB_SIZE]
  --dense-lookup-layers  1 or 2; SIDs need more levels than that. With 2 the tables have V x V entries.
                         [ESPALIER_DENSE_LOOKUP_LAYERS]
  --out                  The folder to write them to; older ones are replaced once all are complete. [ESPALIER_OUT]
  --json                 Print one JSON object.`;

export const importHelp = `Usage: espalier index import DIR --format static --out FILE [--codebook-sizes LIST] [--json]

Builds a static trie from the arrays of the reference implementation of STATIC, after checking all of them.

  --format          static. [ESPALIER_FORMAT]
  --out             The file to write; an older one is replaced once the new one is complete. [ESPALIER_OUT]
  --codebook-sizes  The number of codes of each level, which the arrays do not say.
                    (default: the vocabulary size for each) [ESPALIER_CODEBOOK_SIZES]
  --json            Print one JSON object.`;

/** `espalier index export`. */
export async function indexExport(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: exportHelp,
    values: ['format', 'vocab-size', 'dense-lookup-layers', 'out'],
    switches: ['json'],
    positionals: ['FILE'],
  });
  options.oneOf('format', FORMATS);
  const vocabSize = options.integer('vocab-size', 1, MAX_VOCAB_SIZE);
  const denseLookupLayers = options.oneOf('dense-lookup-layers', ['1', '2']) === '1' ? 1 : 2;
  const out = options.required('out');
  const report = await withProgressBar((onProgress) => {
    onProgress('exporting', 0);
    const { trie } = openIndexFile(options.positionals[0]);
    const csr = exportStatic(trie, { vocabSize, denseLookupLayers });
    onProgress('writing', 0);
    writeStaticFolder(out, csr);
    return {
      leaves: trie.leafCount,
      states: csr.indptr.length - 2,
      edges: csr.packedCsr.length / 2 - vocabSize,
      layerMaxBranches: csr.layerMaxBranches,
      out,
    };
  });
  const text = alignRows([
    ['leaves', count(report.leaves)],
    ['states', count(report.states)],
    ['edges', count(report.edges)],
    ['max branches', counts(report.layerMaxBranches)],
    ['written', out],
  ]);
  printReport(options.isOn('json'), report, text);
  return 0;
}

/** `espalier index import`. */
export async function indexImport(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: importHelp,
    values: ['format', 'out', 'codebook-sizes'],
    switches: ['json'],
    positionals: ['DIR'],
  });
  options.oneOf('format', FORMATS);
  const out = options.required('out');
  const codebookSizes = options.integers('codebook-sizes', 1, MAX_CODEBOOK_SIZE);
  const report = await withProgressBar(async (onProgress) => {
    onProgress('reading', 0);
    const csr = readStaticFolder(options.positionals[0]);
    const trie = await importStatic(csr, { codebookSizes, onProgress });
    onProgress('writing', 0);
    writeTrieFile(out, trie);
    return {
      leaves: trie.leafCount,
      codebookSizes: trie.codebookSizes,
      nodesPerLevel: trieStats(trie).nodesPerLevel,
      out,
    };
  });
  const text = alignRows([
    ['leaves', count(report.leaves)],
    ['codebook sizes', counts(report.codebookSizes)],
    ['nodes per level', counts(report.nodesPerLevel)],
    ['written', out],
  ]);
  printReport(options.isOn('json'), report, text);
  return 0;
}
