#!/usr/bin/env node
import { EspalierError } from '../errors.js';
import { isSystemError } from '../static-trie/index.js';
import { UsageError } from './usage-error.js';

/**
 * The `espalier` command. Exit codes: 0 success, 1 failure, 2 wrong usage. What a command needs is loaded with
 * it, so that `index` starts without the server and its model runtime.
 */
async function main([command, ...args]: string[]): Promise<number> {
  switch (command) {
    case 'serve':
      return (await import('./serve.js')).serve(args);
    case 'worker':
      return (await import('./worker.js')).worker(args);
    case 'keys':
      return (await import('./keys-command.js')).keysCommand(args);
    case 'index':
      return (await import('./index-command.js')).indexCommand(args);
    case 'bench':
      return (await import('./bench-command.js')).benchCommand(args);
    case '--version':
      return (await import('./version.js')).version(args);
    case '--help':
      refuseFurther(args);
      console.log((await import('./usage.js')).usage());
      return 0;
    case undefined:
      throw new UsageError('expected a command, found none');
    default:
      throw new UsageError(`unknown command ${command}`);
  }
}

function refuseFurther(args: string[]): void {
  if (args.length > 0) throw new UsageError(`unexpected ${args.join(' ')}`);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (thrown) {
  if (thrown instanceof UsageError) {
    const help = thrown.help ?? (await import('./usage.js')).usage();
    console.error(`espalier: ${thrown.message}\n\n${help}`);
    process.exitCode = 2;
  } else if (isSystemError(thrown)) {
    // A file that is not there, or not ours to read: the system's own words name it.
    console.error(`espalier: ${thrown.message}`);
    process.exitCode = 1;
  } else {
    const { code, message } = EspalierError.from(thrown);
    console.error(`espalier: ${code}: ${message}`);
    process.exitCode = code === 'ESP_CONFIG_INVALID' ? 2 : 1;
  }
}
