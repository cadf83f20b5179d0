import { ConfigSchema, configKeys, environmentName, flagName } from '../server/index.js';

export function usage(): string {
  const rows = configKeys.map((key) => {
    const { description, default: value } = ConfigSchema.properties[key] as unknown as {
      description: string;
      default?: unknown;
    };
    const whenAbsent = ConfigSchema.required.includes(key as never) ? '(required)' : '(optional)';
    const fallback = value === undefined ? whenAbsent : `(default: ${value})`;
    return [`--${flagName(key)}`, `${description} ${fallback} [${environmentName(key)}]`];
  });
  rows.push(['--config', 'JSON file with any of these options; flags and the environment win over it.']);
  rows.push(['--check-config', 'Check the configuration, print it, and exit.']);
  const width = Math.max(...rows.map(([flag]) => flag.length));
  return [
    'Usage:',
    '  espalier serve --data-dir D --models-dir M [options]',
    '  espalier worker --data-dir D --redis-url URL [options]       (espalier worker --help says more)',
    '  espalier keys create | list | revoke                         (espalier keys --help says more)',
    '  espalier index build | inspect | verify | export | import    (espalier index --help says more)',
    '  espalier bench --data-dir D --models-dir M [options]         (espalier bench --help says more)',
    '  espalier --help | --version [--verbose]                      (--verbose: which kernels run, and on what)',
    '',
    'Options of serve:',
    ...rows.map(([flag, text]) => `  ${flag.padEnd(width)}  ${text}`),
  ].join('\n');
}
