import { ConfigSchema, environmentName, flagName } from '../../src/server/index.js';
import { table } from './http-api.js';
import { type Schema, typeOf } from './schema.js';

/** docs/configuration.md from the one schema that also checks the configuration. */
export function configurationPage(): string {
  const required = new Set<string>(ConfigSchema.required);
  const rows = Object.entries(ConfigSchema.properties as Record<string, Schema>).map(([key, schema]) => [
    `\`--${flagName(key)}\``,
    `\`${environmentName(key)}\``,
    `\`${key}\``,
    typeOf(schema),
    defaultOf(schema, required.has(key)),
    schema.description ?? '',
  ]);
  return `${INTRODUCTION}\n\n${table(['flag', 'environment', 'file', 'type', 'default', 'meaning'], rows)}\n`;
}

const INTRODUCTION = `# Configuration

<!-- Written by scripts/generate-docs.ts from src/server/config.ts; edit that. -->

\`espalier serve\` takes each option as a flag, from the environment, or from the JSON file that \`--config\` names. Flags
win over the environment, the environment over the file. Names that are unknown are errors, in all three, and all
faults are told at once. \`--check-config\` prints what holds (without passwords) and ends.

\`\`\`sh
ESPALIER_DATA_DIR=/var/lib/espalier espalier serve --models-dir /models --check-config
\`\`\`

\`ESPALIER_KERNELS\` (only in the environment) forces one set of kernels (\`js\`, \`scalar\`, \`avx2\`, \`avx512\`,
\`neon\`, \`cuda\`: the decode step on a GPU); \`/healthz\` says which run. \`ESPALIER_CUDA_LIBRARY\` (likewise) is the path
of \`libespalier_cuda.so\`, by default \`build/cuda/\` in the package.`;

function defaultOf({ default: value }: Schema, isRequired: boolean): string {
  if (value !== undefined) return `\`${String(value)}\``;
  return isRequired ? 'required' : 'none';
}
