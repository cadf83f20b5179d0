#!/usr/bin/env node
import { EspalierError } from '../errors.js';
import { packageVersion } from '../server/index.js';
import { serve } from './serve.js';
import { UsageError, usage } from './usage.js';

/** The `espalier` command. Exit codes: 0 success, 1 failure, 2 wrong usage. */
async function main([command, ...args]: string[]): Promise<number> {
  switch (command) {
    case 'serve':
      return serve(args);
    case '--version':
      refuseFurther(args);
      console.log(packageVersion());
      return 0;
    case '--help':
      refuseFurther(args);
      console.log(usage());
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
    console.error(`espalier: ${thrown.message}\n\n${usage()}`);
    process.exitCode = 2;
  } else {
    const { code, message } = EspalierError.from(thrown);
    console.error(`espalier: ${code}: ${message}`);
    process.exitCode = code === 'ESP_CONFIG_INVALID' ? 2 : 1;
  }
}
