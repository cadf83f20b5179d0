import { verifyIndexFile } from '../static-trie/index.js';
import { Options } from './options.js';
import { withProgressBar } from './progress-bar.js';
import { printReport } from './report.js';

export const verifyHelp = `Usage: espalier index verify FILE [--json]

Reads all of a static trie or a catalog version: every checksum, and that its arrays mean something. Exits with 1 and
the first fault where they do not.

  --json  Print one JSON object.`;

/** `espalier index verify`. */
export async function indexVerify(args: string[]): Promise<number> {
  const options = new Options(args, {
    help: verifyHelp,
    values: [],
    switches: ['json'],
    positionals: ['FILE'],
  });
  const [file] = options.positionals;
  await withProgressBar((onProgress) =>
    verifyIndexFile(file, (fraction) => {
      onProgress('verifying', fraction);
    }),
  );
  printReport(options.isOn('json'), { file, isSound: true }, `${file} is sound`);
  return 0;
}
