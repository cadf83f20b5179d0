import { buildHelp, indexBuild } from './index-build.js';
import { exportHelp, importHelp, indexExport, indexImport } from './index-exchange.js';
import { indexInspect, inspectHelp } from './index-inspect.js';
import { indexVerify, verifyHelp } from './index-verify.js';
import { UsageError } from './usage-error.js';

interface Subcommand {
  run: (args: string[]) => Promise<number>;
  help: string;
}

const subcommands: Record<string, Subcommand> = {
  build: { run: indexBuild, help: buildHelp },
  inspect: { run: indexInspect, help: inspectHelp },
  verify: { run: indexVerify, help: verifyHelp },
  export: { run: indexExport, help: exportHelp },
  import: { run: indexImport, help: importHelp },
};

const indexHelp = `Usage:
  espalier index build   --sids FILE --codebook-sizes LIST --out FILE [--threads N]
  espalier index inspect FILE
  espalier index verify  FILE
  espalier index export  FILE --format static --vocab-size V --dense-lookup-layers 1|2 --out DIR
  espalier index import  DIR --format static --out FILE

Every one takes --json, and --help for what its options mean.`;

/** `espalier index …`: tries as files, without a server. */
export async function indexCommand([name, ...args]: string[]): Promise<number> {
  if (name === undefined) throw new UsageError('index: expected a subcommand, found none', indexHelp);
  if (name === '--help') {
    if (args.length > 0) throw new UsageError(`unexpected ${args.join(' ')}`, indexHelp);
    console.log(indexHelp);
    return 0;
  }
  if (!Object.hasOwn(subcommands, name)) throw new UsageError(`index: unknown subcommand ${name}`, indexHelp);
  const { run, help } = subcommands[name];
  if (args.includes('--help')) {
    console.log(help);
    return 0;
  }
  return run(args);
}
