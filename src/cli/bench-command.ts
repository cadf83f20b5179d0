import { dirname } from 'node:path';
import { type Config, loadConfig, MAX_BEAM_WIDTH } from '../server/index.js';
import { textOf } from './bench/bench-report.js';
import { type BenchPlan, DEFAULT_SETS, runBench } from './bench/run-bench.js';
import type { SubjectPlaces } from './bench/subject.js';
import { Options, variableOf } from './options.js';
import { withProgressBar } from './progress-bar.js';
import { printReport } from './report.js';

const MAX_SECONDS = 86_400;
const MAX_TOGETHER = 64;

export const benchHelp = `Usage:
  espalier bench --data-dir D --models-dir M [--catalog NAME] [--set NAME]... [options]
  espalier bench --index FILE --model DIR [--rule CEL]... [options]

Says how long requests take on this machine, and how much of that is the constraint: p50, p95 and p99 of the total, the
model and the constraint, without a constraint and under each set, one request at a time and several at once. Every
answer is checked, item by item. Nothing is written, so a server may run on the data directory; on a machine that has
other work the times are longer.

  --data-dir       The server's data directory. [ESPALIER_DATA_DIR]
  --models-dir     Its models; the catalog says which. [ESPALIER_MODELS_DIR]
  --catalog        Which catalog; needed where there are several. [ESPALIER_CATALOG]
  --index          Instead of a data directory: a catalog version (catalog.bin), or a static trie as espalier index
                   writes them. The items of a static trie are called by their SIDs, 17-203-9. [ESPALIER_INDEX]
  --model          The model's own folder, with model.json in it. [ESPALIER_MODEL]
  --set            A constraint set, or an alias of one; may be repeated. (default: the first ${DEFAULT_SETS} of the catalog)
                   [ESPALIER_SET]
  --rule           A rule in CEL, as a set of its own; may be repeated. [ESPALIER_RULE]
  --requests       NDJSON, one recommend request a line, as for POST /v1/recommend; without it histories are drawn from
                   the catalog's items. [ESPALIER_REQUESTS]
  --k              Items of each answer, whatever the requests say. [ESPALIER_K]
  --beam-width     Beams of each request, whatever the requests say; one width, or one for each level: 10,50,50.
                   [ESPALIER_BEAM_WIDTH]
  --together       Requests that come at once; 1 leaves that out. (default: 8) [ESPALIER_TOGETHER]
  --seconds        About how long to measure, a quarter of it, or 5, for the warm-up. (default: 20) [ESPALIER_SECONDS]
  --config         The server's configuration file, for its threads and batches. [ESPALIER_CONFIG]
  --decode-threads, --step-threads
                   As for espalier serve. [ESPALIER_DECODE_THREADS, ESPALIER_STEP_THREADS]
  --json           Print one JSON object.

ESPALIER_KERNELS forces a kernel, as for espalier serve. Ctrl-C ends with what was measured, and exit code 1.`;

/** Options that are not the server's. */
const OWN = ['catalog', 'index', 'model', 'requests', 'k', 'beam-width', 'together', 'seconds', 'config'];
const LISTS = ['set', 'rule'];
/** Options that are the server's, too. */
const SERVERS = ['data-dir', 'models-dir', 'decode-threads', 'step-threads'] as const;

/** `espalier bench`. */
export async function benchCommand(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: benchHelp,
    values: [...OWN, ...SERVERS],
    lists: LISTS,
    switches: ['json', 'help'],
    positionals: [],
  });
  if (options.isOn('help')) {
    console.log(benchHelp);
    return 0;
  }
  const places = placesOf(options);
  const beamWidth = options.integers('beam-width', 1, MAX_BEAM_WIDTH);
  const plan: BenchPlan = {
    places,
    config: configOf(options, places),
    sets: options.texts('set'),
    rules: options.texts('rule'),
    queries: {
      file: options.text('requests'),
      k: options.optionalInteger('k', 1, MAX_BEAM_WIDTH),
      beamWidth: beamWidth?.length === 1 ? beamWidth[0] : beamWidth,
    },
    togetherCount: options.optionalInteger('together', 1, MAX_TOGETHER) ?? 8,
    seconds: options.optionalInteger('seconds', 1, MAX_SECONDS) ?? 20,
  };
  const report = await withProgressBar((onProgress) => runBench(plan, onProgress));
  printReport(options.isOn('json'), report, textOf(report));
  return report.isInterrupted ? 1 : 0;
}

function placesOf(options: Options): SubjectPlaces {
  const [dataDir, index] = [options.text('data-dir'), options.text('index')];
  if ((dataDir === undefined) === (index === undefined)) {
    const found = dataDir === undefined ? 'neither' : `both (${variableOf('data-dir')} counts)`;
    throw options.wrong(`expected one of --data-dir and --index, found ${found}`);
  }
  if (index !== undefined) {
    if (options.text('catalog') !== undefined || options.texts('set').length > 0) {
      throw options.wrong(
        '--catalog and --set need --data-dir: a file has neither; --rule needs only attributes',
      );
    }
    return { source: { index }, model: { folder: options.required('model') } };
  }
  const folder = options.text('model');
  return {
    source: { dataDir: dataDir!, catalog: options.text('catalog') },
    model: folder === undefined ? { modelsDir: options.required('models-dir') } : { folder },
  };
}

/** Threads and batches as the server would have them here. @throws EspalierError ESP_CONFIG_INVALID */
function configOf(options: Options, { source, model }: SubjectPlaces): Config {
  const own = new Set([...OWN, ...LISTS].map(variableOf));
  const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !own.has(name)));
  const flags: Record<string, string> = {
    // A server needs both, whatever this measures.
    dataDir: 'index' in source ? dirname(source.index) : source.dataDir,
    modelsDir: 'folder' in model ? dirname(model.folder) : model.modelsDir,
  };
  const [decodeThreads, stepThreads] = [options.text('decode-threads'), options.text('step-threads')];
  if (decodeThreads !== undefined) flags.decodeThreads = decodeThreads;
  if (stepThreads !== undefined) flags.stepThreads = stepThreads;
  return loadConfig(flags, environment, options.text('config'));
}
