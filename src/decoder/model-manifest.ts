import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Static, Type } from 'typebox';
import { Errors } from 'typebox/value';
import { type ErrorDetail, EspalierError } from '../errors.js';
import type { LevelTokens } from '../kernels/index.js';
import { MAX_CODEBOOK_SIZE, MAX_LEVELS } from '../static-trie/index.js';
import { type ContractName, contracts } from './contracts/contracts.js';

const closed = { additionalProperties: false };
const Token = Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 });
const FileName = Type.String({ pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' });

/** `model.json`: what a model is and how it speaks. @see docs/models.md */
export const ModelManifestSchema = Type.Object(
  {
    name: Type.String({ pattern: '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' }),
    contract: Type.Enum(Object.keys(contracts) as ContractName[]),
    /** Which names there must be is the contract's to say. */
    files: Type.Record(Type.String(), FileName),
    sid: Type.Object(
      {
        codebookSizes: Type.Array(Type.Integer({ minimum: 1, maximum: MAX_CODEBOOK_SIZE }), {
          minItems: 1,
          maxItems: MAX_LEVELS,
        }),
      },
      closed,
    ),
    tokens: Type.Object(
      {
        bos: Type.Optional(Token),
        eos: Type.Optional(Token),
        pad: Type.Optional(Token),
        decoderStart: Type.Optional(Token),
        prefix: Type.Optional(Type.Array(Token)),
        suffix: Type.Optional(Type.Array(Token)),
        levelOffsets: Type.Optional(Type.Array(Token)),
        levelTokens: Type.Optional(Type.Array(Type.Array(Token))),
      },
      closed,
    ),
    context: Type.Object(
      {
        maxItems: Type.Integer({ minimum: 1, maximum: 100_000 }),
        order: Type.Enum(['oldestFirst', 'newestFirst']),
      },
      closed,
    ),
    providers: Type.Optional(Type.Array(Type.Literal('cpu'))),
  },
  closed,
);
export type ModelManifest = Static<typeof ModelManifestSchema>;

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
  const details = Errors(ModelManifestSchema, json).map(
    (error): ErrorDetail => ({
      field: error.instancePath.slice(1).replaceAll('/', '.') || 'model.json',
      expected: error.message,
      found: JSON.stringify(valueAtPointer(json, error.instancePath))?.slice(0, 80) ?? 'nothing',
    }),
  );
  if (details.length === 0)
    details.push(...checkFiles(json as ModelManifest), ...checkTokens(json as ModelManifest));
  if (details.length > 0) {
    const { field, expected, found } = details[0];
    const message = `model.json: ${field}: expected ${expected}, found ${found}`;
    throw new EspalierError('ESP_MODEL_MANIFEST', message, { details });
  }
  return json as ModelManifest;
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
  return (levelTokens ?? []).flatMap((table, level) =>
    table.length === sid.codebookSizes[level]
      ? []
      : [
          {
            field: `tokens.levelTokens[${level}]`,
            expected: `${sid.codebookSizes[level]} tokens, one for each code`,
            found: String(table.length),
          },
        ],
  );
}

function valueAtPointer(json: unknown, pointer: string): unknown {
  let value = json;
  for (const key of pointer.split('/').slice(1)) value = (value as Record<string, unknown>)?.[key];
  return value;
}
