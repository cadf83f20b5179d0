import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type * as AjvModule from 'ajv';
import { type ErrorDetail, EspalierError } from '../errors.js';
import type { LevelTokens } from '../kernels/index.js';
import { MAX_CODEBOOK_SIZE, MAX_LEVELS } from '../static-trie/index.js';
import { type ContractName, contracts } from './contracts/contracts.js';

/** `model.json`: what a model is and how it speaks. @see docs/models.md */
export interface ModelManifest {
  name: string;
  contract: ContractName;
  /** Which names there must be is the contract's to say. */
  files: Record<string, string>;
  sid: { codebookSizes: number[] };
  tokens: {
    bos?: number;
    eos?: number;
    pad?: number;
    decoderStart?: number;
    prefix?: number[];
    suffix?: number[];
    levelOffsets?: number[];
    levelTokens?: number[][];
  };
  context: { maxItems: number; order: 'oldestFirst' | 'newestFirst' };
  providers?: 'cpu'[];
}

const object = (properties: Record<string, object>, required: string[] = []) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});
const arrayOf = (items: object, bounds: object = {}) => ({ type: 'array', items, ...bounds });
const integer = (minimum: number, maximum: number) => ({ type: 'integer', minimum, maximum });
const name = { type: 'string', pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' };
const token = integer(0, 2 ** 31 - 1);

// A plain JSON Schema: every engine reads manifests, and a builder of schemas would take longer to load than to use.
const schema = object(
  {
    name,
    contract: { enum: Object.keys(contracts) },
    files: { type: 'object', additionalProperties: name },
    sid: object(
      { codebookSizes: arrayOf(integer(1, MAX_CODEBOOK_SIZE), { minItems: 1, maxItems: MAX_LEVELS }) },
      ['codebookSizes'],
    ),
    tokens: object({
      bos: token,
      eos: token,
      pad: token,
      decoderStart: token,
      prefix: arrayOf(token),
      suffix: arrayOf(token),
      levelOffsets: arrayOf(token),
      levelTokens: arrayOf(arrayOf(token)),
    }),
    context: object({ maxItems: integer(1, 100_000), order: { enum: ['oldestFirst', 'newestFirst'] } }, [
      'maxItems',
      'order',
    ]),
    providers: arrayOf({ const: 'cpu' }),
  },
  ['name', 'contract', 'files', 'sid', 'tokens', 'context'],
);
let validate: AjvModule.ValidateFunction<ModelManifest> | undefined;

/** @throws EspalierError ESP_MODEL_NOT_FOUND, or ESP_MODEL_MANIFEST with every fault. */
export function readModelManifest(folder: string): ModelManifest {
  const path = join(folder, 'model.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new EspalierError('ESP_MODEL_NOT_FOUND', 'the model has no readable model.json', { cause });
  }
  return parseModelManifest(text);
}

export function parseModelManifest(text: string): ModelManifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new EspalierError('ESP_MODEL_MANIFEST', `model.json: ${(cause as Error).message}`, { cause });
  }
  validate ??= compile();
  const details = validate(json)
    ? [...checkFiles(json), ...checkTokens(json)]
    : validate.errors!.map(
        ({ instancePath, message }): ErrorDetail => ({
          field: instancePath.slice(1).replaceAll('/', '.') || 'model.json',
          expected: message!,
          found: JSON.stringify(valueAtPointer(json, instancePath))?.slice(0, 80) ?? 'nothing',
        }),
      );
  if (details.length > 0) {
    const { field, expected, found } = details[0];
    const message = `model.json: ${field}: expected ${expected}, found ${found}`;
    throw new EspalierError('ESP_MODEL_MANIFEST', message, { details });
  }
  return json as ModelManifest;
}

/** Loaded with the first manifest: not every thread that knows this file reads one. */
function compile(): AjvModule.ValidateFunction<ModelManifest> {
  const { Ajv } = createRequire(import.meta.url)('ajv') as typeof AjvModule;
  // Without the check of the schema itself, which takes longer than the rest.
  return new Ajv({ allErrors: true, validateSchema: false, meta: false }).compile<ModelManifest>(schema);
}

/** How codes map to tokens, level by level. */
export function levelTokensOf(manifest: ModelManifest): LevelTokens[] {
  const { levelOffsets, levelTokens } = manifest.tokens;
  return levelTokens !== undefined
    ? levelTokens.map((table) => ({ table: Uint32Array.from(table) }))
    : levelOffsets!.map((offset) => ({ offset }));
}

function checkFiles({ contract, files }: ModelManifest): ErrorDetail[] {
  const names: readonly string[] = contracts[contract].files;
  const missing = names.filter((name) => files[name] === undefined);
  const unknown = Object.keys(files).filter((name) => !names.includes(name));
  return [
    ...missing.map((name) => ({ field: `files.${name}`, expected: 'a file name', found: 'nothing' })),
    ...unknown.map((name) => ({
      field: `files.${name}`,
      expected: `only ${names.join(', ')}, the files of ${contract}`,
      found: name,
    })),
  ];
}

function checkTokens({ contract, tokens, sid }: ModelManifest): ErrorDetail[] {
  const decodesFromStart = contract === 'encoder-decoder';
  if (decodesFromStart !== (tokens.decoderStart !== undefined)) {
    const expected = decodesFromStart
      ? 'the token that the decoder begins with'
      : `nothing under ${contract}`;
    const found = String(tokens.decoderStart ?? 'nothing');
    return [{ field: 'tokens.decoderStart', expected, found }];
  }
  const { levelOffsets, levelTokens } = tokens;
  const levels = sid.codebookSizes.length;
  if ((levelOffsets === undefined) === (levelTokens === undefined)) {
    const found = levelOffsets === undefined ? 'neither' : 'both';
    return [{ field: 'tokens', expected: 'one of levelOffsets and levelTokens', found }];
  }
  const count = (levelOffsets ?? levelTokens)!.length;
  const field = levelOffsets === undefined ? 'tokens.levelTokens' : 'tokens.levelOffsets';
  if (count !== levels) return [{ field, expected: `${levels} levels`, found: String(count) }];
  return (levelTokens ?? []).flatMap((table, level) => {
    const field = `tokens.levelTokens[${level}]`;
    const size = sid.codebookSizes[level];
    if (table.length === size) return repeatedToken(field, table);
    return [{ field, expected: `${size} tokens, one for each code`, found: String(table.length) }];
  });
}

/** Codes of one level that the model cannot tell apart, as where a tokenizer has one token for all that it lacks. */
function repeatedToken(field: string, table: readonly number[]): ErrorDetail[] {
  const codeOf = new Map<number, number>();
  for (const [code, token] of table.entries()) {
    const other = codeOf.get(token);
    if (other !== undefined) {
      return [
        { field, expected: 'another token for each code', found: `${token} for codes ${other} and ${code}` },
      ];
    }
    codeOf.set(token, code);
  }
  return [];
}

function valueAtPointer(json: unknown, pointer: string): unknown {
  let value = json;
  for (const key of pointer.split('/').slice(1)) value = (value as Record<string, unknown>)?.[key];
  return value;
}
